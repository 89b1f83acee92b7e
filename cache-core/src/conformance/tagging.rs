//! Rules about entries that are kept with their tags.

use alloc::string::String;
use alloc::vec::Vec;
use core::borrow::Borrow;

use super::harness::SharedHarness;
use super::mutations::Desk;
use super::trial::{Finding, Rule, ensure, fresh_for, pass, units};
use crate::entry::{Freshness, Lifetime};
use crate::store::{HeldLease, Mutation, SharedStore, Station, Store, TagChange};
use crate::tags::tag_hash;

pub(super) const fn rules<H: SharedHarness>() -> [Rule<H>; 7] {
    [
        Rule { id: "tags-stay", demand: "an entry is answered with its tags", check: tags_stay },
        Rule {
            id: "tag-invalidates",
            demand: "an invalidated tag ends all entries with it of before, and no others",
            check: tag_invalidates,
        },
        Rule {
            id: "tag-expires",
            demand: "an expired tag makes all entries with it of before stale, from then, and no others",
            check: tag_expires,
        },
        Rule {
            id: "tag-keeps-windows",
            demand: "what an expired tag made stale has its windows from the first such time",
            check: tag_keeps_windows,
        },
        Rule {
            id: "tag-refuses-fills",
            demand: "a fill with a tag that was invalidated since its lease is refused, and ends the lease",
            check: tag_refuses_fills,
        },
        Rule {
            id: "tag-expires-fills",
            demand: "a fill with a tag that was expired since its lease is stale",
            check: tag_expires_fills,
        },
        Rule {
            id: "tag-leaves-room",
            demand: "what an invalidated tag has ended is absent for put_if_absent",
            check: tag_leaves_room,
        },
    ]
}

const NO_TAGS: Finding = Finding::NotApplicable("entries are not kept with tags");

impl<H: SharedHarness> Desk<'_, H> {
    fn put_tagged(
        &self,
        key: u64,
        value: u64,
        life: Lifetime,
        tags: &[&str],
    ) -> Result<(), String> {
        let (value, tags) = (self.harness.value(value), hashes(tags));
        let mutation = Mutation::put(&value, life).tagged(&tags);
        self.mutate(key, mutation, Station::NOBODY).map(drop)
    }

    fn fill_tagged(&self, key: u64, lease: HeldLease, tag: &str) -> Result<bool, String> {
        let (value, tags) = (self.harness.value(key), hashes(&[tag]));
        let fill = Mutation::fill(&value, fresh_for(self.harness, 100), lease).tagged(&tags);
        self.mutate(key, fill, Station::NOBODY)
    }

    fn change_tag(&self, tag: &str, change: TagChange) -> Result<(), String> {
        let now = self.harness.now();
        let answer = self.store.change_tag(tag, change, Station::NOBODY, now);
        answer.map_err(|error| alloc::format!("change_tag failed: {error}"))
    }

    fn keeps_tags(&self) -> bool {
        self.store.keeps_tags()
    }
}

fn hashes(tags: &[&str]) -> Vec<u64> {
    tags.iter().map(|tag| tag_hash(tag)).collect()
}

fn tags_stay<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let long = fresh_for(harness, 100);
    desk.put_tagged(0, 1, long, &["a", "b"])?;
    desk.put(1, 2, long)?;
    let told = |key| desk.get(key).map(|found| found.map(|found| found.tags().to_vec()));
    let mut two = told(0)?.unwrap_or_default();
    two.sort_unstable();
    let mut expected = hashes(&["a", "b"]);
    expected.sort_unstable();
    ensure(two == expected, "an entry with two tags was answered with others")?;
    ensure(told(1)? == Some(Vec::new()), "an entry without tags was answered with some")?;
    desk.put(0, 3, long)?;
    ensure(told(0)? == Some(Vec::new()), "an entry has the tags of the one before it")?;
    Ok(Finding::Holds)
}

fn tag_invalidates<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let long = fresh_for(harness, 100);
    desk.put_tagged(0, 1, long, &["a", "b"])?;
    desk.put_tagged(1, 2, long, &["b"])?;
    desk.put_tagged(2, 3, long, &["c"])?;
    desk.put(3, 4, long)?;
    desk.change_tag("b", TagChange::Invalidate)?;
    desk.expect(0, None, "after its second tag was invalidated")?;
    desk.expect(1, None, "after its tag was invalidated")?;
    desk.expect(2, Some(3), "after another tag was invalidated")?;
    desk.expect(3, Some(4), "after a tag was invalidated, though it has none")?;
    desk.put_tagged(0, 5, long, &["b"])?;
    desk.expect(0, Some(5), "put after its tag was invalidated")?;
    desk.change_tag("c", TagChange::Invalidate)?;
    desk.expect(0, Some(5), "after another tag was invalidated")?;
    let lease = desk.acquire(1, 100, "though nobody held it")?;
    ensure(desk.fill_tagged(1, lease, "b")?, "a fill after its tag was invalidated is refused")?;
    desk.expect(1, Some(1), "filled after its tag was invalidated")?;
    Ok(Finding::Holds)
}

fn tag_expires<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let long = fresh_for(harness, 100).stale_if_error(units(harness, 100));
    desk.put_tagged(0, 1, long, &["a", "b"])?;
    desk.put_tagged(1, 2, long, &["c"])?;
    desk.put_tagged(2, 3, fresh_for(harness, 100), &["b"])?;
    pass(harness, 1);
    desk.change_tag("b", TagChange::Expire)?;
    let is_fresh =
        |life: Option<Lifetime>| life.is_some_and(|life| life.freshness() == Freshness::Fresh);
    let life = desk.expect(0, Some(1), "after its tag was expired")?;
    ensure(!is_fresh(life), "an entry whose tag was expired is fresh")?;
    let life = desk.expect(1, Some(2), "after another tag was expired")?;
    ensure(is_fresh(life), "an entry is stale after another tag was expired")?;
    desk.expect(2, None, "without windows, after its tag was expired")?;
    desk.put_tagged(0, 4, long, &["b"])?;
    let life = desk.expect(0, Some(4), "put after its tag was expired")?;
    ensure(is_fresh(life), "an entry that was put after its tag was expired is stale")?;
    Ok(Finding::Holds)
}

/// However often the tag is expired later.
fn tag_keeps_windows<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let window = units(harness, 2);
    desk.put_tagged(0, 1, fresh_for(harness, 100).stale_if_error(window), &["a"])?;
    desk.change_tag("a", TagChange::Expire)?;
    pass(harness, 1);
    (0..5).try_for_each(|_| desk.change_tag("a", TagChange::Expire))?;
    pass(harness, 1);
    desk.expect(0, None, "after its window had passed since its tag was expired first")?;
    Ok(Finding::Holds)
}

fn tag_refuses_fills<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let [one, other] = [0, 1].map(|key| desk.acquire(key, 100, "though nobody held it"));
    desk.change_tag("a", TagChange::Invalidate)?;
    ensure(!desk.fill_tagged(0, one?, "a")?, "it landed")?;
    desk.expect(0, None, "after a fill that was refused for its tag")?;
    drop(desk.acquire(0, 100, "after a fill that was refused for its tag")?);
    ensure(desk.fill_tagged(1, other?, "b")?, "it was refused for another tag")?;
    desk.expect(1, Some(1), "after a fill with another tag")?;
    Ok(Finding::Holds)
}

fn tag_expires_fills<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let long = fresh_for(harness, 100).stale_if_error(units(harness, 100));
    let lease = desk.acquire(0, 100, "though nobody held it")?;
    desk.change_tag("a", TagChange::Expire)?;
    let (value, tags) = (harness.value(1), hashes(&["a"]));
    desk.mutate(0, Mutation::fill(&value, long, lease).tagged(&tags), Station::NOBODY)?;
    let found = desk.get(0)?.map(|found| found.lifetime.freshness());
    ensure(found != Some(Freshness::Fresh), "it is fresh")?;
    Ok(Finding::Holds)
}

fn tag_leaves_room<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    if !desk.keeps_tags() {
        return Ok(NO_TAGS);
    }
    let long = fresh_for(harness, 100);
    desk.put_tagged(0, 1, long, &["a"])?;
    desk.change_tag("a", TagChange::Invalidate)?;
    let (key, value, now) = (harness.key(0), harness.value(2), harness.now());
    match desk.store.put_if_absent(key.borrow(), &value, long, now) {
        Ok(stored) => ensure(stored, "it answered false")?,
        Err(_) => return Ok(Finding::NotApplicable("put_if_absent is not supported")),
    }
    desk.expect(0, Some(2), "after put_if_absent")?;
    Ok(Finding::Holds)
}
