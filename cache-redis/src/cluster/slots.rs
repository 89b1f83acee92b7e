//! Which primary owns a slot.

use redis::Value;

use super::slot::SLOTS;
use crate::address::Address;
use crate::error::ServerError;
use crate::reply;

/// Owners of slots, and the replicas that were told with them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slots {
    /// For each slot, the place of its owner.
    owners: Vec<u16>,
    primaries: Vec<Address>,
    replicas: Vec<Address>,
}

const NOBODY: u16 = u16::MAX;

impl Slots {
    pub(crate) fn new() -> Self {
        Self { owners: vec![NOBODY; SLOTS.into()], primaries: vec![], replicas: vec![] }
    }

    /// What `CLUSTER SLOTS` answered, when `by` was asked: `[from, to, [host, port, ..] ..]` for each range,
    /// the primary first.
    pub(crate) fn read(answer: Value, by: &Address) -> Result<Self, ServerError> {
        let mut slots = Self::new();
        let Value::Array(ranges) = reply::value(answer)? else { return Err(ServerError::Protocol) };
        for range in ranges {
            slots.read_range(range, by).ok_or(ServerError::Protocol)?;
        }
        if slots.primaries.is_empty() { Err(ServerError::ClusterDown) } else { Ok(slots) }
    }

    fn read_range(&mut self, range: Value, by: &Address) -> Option<()> {
        let Value::Array(parts) = range else { return None };
        let mut parts = parts.into_iter();
        let (Some(Value::Int(from)), Some(Value::Int(to))) = (parts.next(), parts.next()) else {
            return None;
        };
        let (from, to) = (u16::try_from(from).ok()?, u16::try_from(to).ok()?);
        let mut nodes = parts.map(|node| read_node(node, by));
        // A primary whose address is not known to who answered.
        let Some(primary) = nodes.next()? else { return Some(()) };
        let owner = self.place_of(primary)?;
        self.owners.get_mut(from.into()..=to.into())?.fill(owner);
        for replica in nodes.flatten() {
            if !self.replicas.contains(&replica) {
                self.replicas.push(replica);
            }
        }
        Some(())
    }

    fn place_of(&mut self, primary: Address) -> Option<u16> {
        let place = self.primaries.iter().position(|known| *known == primary);
        let place = place.unwrap_or_else(|| {
            self.primaries.push(primary);
            self.primaries.len() - 1
        });
        u16::try_from(place).ok().filter(|place| *place != NOBODY)
    }

    /// The primary that owns a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Address> {
        self.primaries.get(usize::from(*self.owners.get(usize::from(slot))?))
    }

    /// The slot is this node's from now on.
    pub(crate) fn set(&mut self, slot: u16, owner: Address) {
        if let Some(place) = self.place_of(owner)
            && let Some(entry) = self.owners.get_mut(usize::from(slot))
        {
            *entry = place;
        }
    }

    /// Nodes that own slots, or did when this was told.
    pub(crate) fn primaries(&self) -> &[Address] {
        &self.primaries
    }

    pub(crate) fn replicas(&self) -> &[Address] {
        &self.replicas
    }
}

impl core::fmt::Debug for Slots {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slots").field("primaries", &self.primaries.len()).finish_non_exhaustive()
    }
}

fn read_node(node: Value, by: &Address) -> Option<Address> {
    let Value::Array(parts) = node else { return None };
    let mut parts = parts.into_iter();
    let host = reply::bytes(parts.next()?).ok()?;
    let port = reply::integer(parts.next()?).ok()?;
    Address::told_parts(std::str::from_utf8(&host).ok()?, port.try_into().ok()?, by)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `hosts` share the slots evenly; each has the replica `host'`.
    pub(crate) fn shared_by(hosts: &[&str]) -> Slots {
        let each = SLOTS / hosts.len() as u16;
        let range = |(n, host): (usize, &&str)| {
            let from = n as u16 * each;
            let to = if n + 1 == hosts.len() { SLOTS - 1 } else { from + each - 1 };
            range(from, to, &[host, &format!("{host}'")])
        };
        let ranges = hosts.iter().enumerate().map(range).collect();
        Slots::read(Value::Array(ranges), &Address::new("asked", 1)).unwrap()
    }

    fn range(from: u16, to: u16, hosts: &[&str]) -> Value {
        let node = |host: &&str| {
            Value::Array(vec![Value::BulkString(host.as_bytes().to_vec()), Value::Int(1)])
        };
        let mut parts = vec![Value::Int(from.into()), Value::Int(to.into())];
        parts.extend(hosts.iter().map(node));
        Value::Array(parts)
    }

    fn host(slots: &Slots, slot: u16) -> Option<&str> {
        slots.owner(slot).map(|address| &*address.host)
    }

    #[test]
    fn ranges_are_owned_by_the_first_of_their_nodes() {
        let slots = shared_by(&["a", "b", "c"]);
        assert_eq!(host(&slots, 0), Some("a"));
        assert_eq!((host(&slots, 5_460), host(&slots, 5_461)), (Some("a"), Some("b")));
        assert_eq!((host(&slots, 16_383), host(&slots, 16_384)), (Some("c"), None));
        assert_eq!((slots.primaries().len(), slots.replicas().len()), (3, 3));
    }

    #[test]
    fn a_slot_that_moved_is_its_new_owners() {
        let mut slots = shared_by(&["a", "b"]);
        slots.set(7, Address::new("b", 1));
        slots.set(8, Address::new("new", 1));
        slots.set(u16::MAX, Address::new("b", 1));
        assert_eq!([6, 7, 8].map(|slot| host(&slots, slot)), [Some("a"), Some("b"), Some("new")]);
    }

    #[test]
    fn a_host_that_is_left_out_is_that_of_who_answered() {
        let by = Address::new("asked", 1);
        let told = Value::Array(vec![range(0, 9, &[""]), range(10, 19, &["?", "b"])]);
        let slots = Slots::read(told, &by).unwrap();
        assert_eq!((host(&slots, 9), host(&slots, 10)), (Some("asked"), None));
    }

    #[test]
    fn a_cluster_without_slots_is_down_and_nonsense_is_no_map() {
        let by = Address::new("asked", 1);
        let read = |answer| Slots::read(answer, &by).unwrap_err();
        assert_eq!(read(Value::Array(vec![])), ServerError::ClusterDown);
        let nonsense = [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(5, 2, &[])]),
            Value::Array(vec![range(0, SLOTS, &["a"])]),
        ];
        for answer in nonsense {
            assert_eq!(read(answer), ServerError::Protocol);
        }
    }

    proptest! {
        #[test]
        fn no_ranges_are_a_panic(
            ranges in prop::collection::vec((any::<u16>(), any::<u16>(), "[ab?]?"), 0..5),
        ) {
            let ranges = ranges.iter().map(|(from, to, host)| range(*from, *to, &[host]));
            let _ = Slots::read(Value::Array(ranges.collect()), &Address::new("asked", 1));
        }
    }
}
