//! Names in Redis: which key an entry, its lease and its fence have.
//!
//! `prefix:namespace:kind:{key}`, `prefix:namespace:v` for the number of the namespace's version, and
//! `prefix:namespace:c` for the channel on which its changes are told; `prefix:namespace:t:{prefix:namespace:}`
//! for the number of the last change of a tag, with a tag's hash behind it for what has happened to that tag, and with
//! `log` for the last changes.
//! Bytes other than letters, digits and `-_.~/@` are written as `%` and two hexadecimal digits; only
//! the prefix keeps its colons. So the first brace opens the key, and what stands before it is read from its
//! end: kind, namespace, prefix. No two names are the same unless all their parts are.
//!
//! What stands between the braces is what Redis Cluster hashes: an entry and its lease share a slot.

use cache_core::store::StoreError;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry, written under this version of the namespace.
    Entry(u64),
    /// The lease of an entry, under this version: a clear ends it.
    Lease(u64),
    /// The number of the newest lease.
    LeaseFence,
    /// A lock.
    Lock,
    /// The number of the newest holder.
    LockFence,
}

/// Bytes of a name beside its stem and its key, at most.
const SPARE: usize = 32;

/// The names of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// `prefix:namespace:`
    stem: Vec<u8>,
    max_key: usize,
}

impl Names {
    pub(crate) fn new(prefix: &[u8], namespace: &[u8], max_key: usize) -> Self {
        let mut stem = Vec::with_capacity(prefix.len() + namespace.len() + 2);
        escape(prefix, b":", &mut stem);
        stem.push(b':');
        escape(namespace, b"", &mut stem);
        stem.push(b':');
        Self { stem, max_key }
    }

    /// Whether the key is within the limit.
    pub(crate) const fn allow(&self, key: &[u8]) -> Result<(), StoreError> {
        if key.len() > self.max_key {
            return Err(StoreError::too_large(key.len(), self.max_key));
        }
        Ok(())
    }

    /// The name of what belongs to `key`.
    pub(crate) fn of(&self, kind: Kind, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut name = Vec::new();
        self.write(kind, key, &mut name)?;
        Ok(name)
    }

    /// The same, in place of what `name` is.
    pub(crate) fn write(
        &self,
        kind: Kind,
        key: &[u8],
        name: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.allow(key)?;
        name.clear();
        name.reserve(self.stem.len() + key.len() + key.len() / 4 + SPARE);
        name.extend_from_slice(&self.stem);
        match kind {
            Kind::Entry(version) => numbered(b'e', version, name),
            Kind::Lease(version) => numbered(b'l', version, name),
            Kind::LeaseFence => name.extend_from_slice(b"lf"),
            Kind::Lock => name.push(b'k'),
            Kind::LockFence => name.extend_from_slice(b"kf"),
        }
        name.extend_from_slice(b":{");
        escape_key(key, name);
        name.push(b'}');
        Ok(())
    }

    /// Where the number of the namespace's version is kept.
    pub(crate) fn version(&self) -> Vec<u8> {
        [&self.stem[..], b"v"].concat()
    }

    /// Where the number of the last change of a tag is kept.
    pub(crate) fn tag_changes(&self) -> Vec<u8> {
        [&self.stem[..], b"t:{", &self.stem, b"}"].concat()
    }

    /// Where the last changes of tags are kept.
    pub(crate) fn tag_log(&self) -> Vec<u8> {
        [&self.tag_changes()[..], b":log"].concat()
    }

    /// Where it is kept what has happened to the tag with this hash. In the same slot as that of other tags.
    pub(crate) fn tag(&self, hash: u64) -> Vec<u8> {
        let mut name = self.tag_changes();
        name.push(b':');
        name.extend_from_slice(format!("{hash:016x}").as_bytes());
        name
    }

    /// The channel on which the namespace's changes are told. It is no key, and has no slot.
    pub(crate) fn channel(&self) -> Vec<u8> {
        [&self.stem[..], b"c"].concat()
    }

    /// A pattern for Redis that all entries' names fit, of every version. Nothing in it but its end is
    /// special to Redis.
    pub(crate) fn entries(&self) -> Vec<u8> {
        [&self.stem[..], b"e*"].concat()
    }

    /// What the names of all entries begin with, of every version. No lease begins like this, and of other
    /// namespaces only those of a prefix that has this namespace's name in it.
    pub(crate) fn tracked(&self) -> Vec<u8> {
        [&self.stem[..], b"e"].concat()
    }

    /// The version of an entry's name; `None` for other names.
    pub(crate) fn entry_version(&self, name: &[u8]) -> Option<u64> {
        self.split_entry(name).map(|(version, _)| version)
    }

    /// Version and key of an entry's name; `None` for names that this would give to no key.
    pub(crate) fn read_entry(&self, name: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (version, key) = self.split_entry(name)?;
        let key = unescape_key(key)?;
        let again = self.of(Kind::Entry(version), &key).ok()?;
        (again == name).then_some((version, key))
    }

    /// The version, and the key as it is written.
    fn split_entry<'a>(&self, name: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let kind = name.strip_prefix(&self.stem[..])?.strip_prefix(b"e")?;
        let digits = kind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = kind.split_at(digits);
        let key = rest.strip_prefix(b":{")?.strip_suffix(b"}")?;
        Some((std::str::from_utf8(number).ok()?.parse().ok()?, key))
    }
}

fn numbered(letter: u8, mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push(letter);
    out.extend_from_slice(&digits[from..]);
}

/// A pair of empty braces would make Redis Cluster hash the whole name, so the empty key is a lone
/// `%`, which stands for no other.
fn escape_key(key: &[u8], out: &mut Vec<u8>) {
    if key.is_empty() {
        out.push(b'%');
    } else {
        escape(key, b"", out);
    }
}

/// Which bytes stand for themselves.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let is = byte as u8;
        plain[byte] =
            is.is_ascii_alphanumeric() || matches!(is, b'-' | b'_' | b'.' | b'~' | b'/' | b'@');
        byte += 1;
    }
    plain
};

fn escape(part: &[u8], also_plain: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |byte: &u8| PLAIN[usize::from(*byte)] || also_plain.contains(byte);
    let mut rest = part;
    loop {
        let plain = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        let Some((byte, after)) = rest[plain..].split_first() else { return };
        let digit = |nibble: u8| HEX[usize::from(nibble & 15)];
        out.extend_from_slice(&[b'%', digit(byte >> 4), digit(*byte)]);
        rest = after;
    }
}

/// Of what [`escape_key`] wrote, the key; anything of other texts, or `None`.
fn unescape_key(text: &[u8]) -> Option<Vec<u8>> {
    if text == b"%" {
        return Some(vec![]);
    }
    let mut key = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        key.push(if byte == b'%' {
            nibble(bytes.next()?)? << 4 | nibble(bytes.next()?)?
        } else {
            byte
        });
    }
    Some(key)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: usize = 2 << 20;

    fn name(prefix: &[u8], namespace: &[u8], kind: Kind, key: &[u8]) -> Vec<u8> {
        Names::new(prefix, namespace, LONGEST).of(kind, key).unwrap()
    }

    fn unescape(part: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        let mut rest = part;
        while let [byte, tail @ ..] = rest {
            let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            match hex {
                Some(hex) if *byte == b'%' => {
                    out.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &tail[2..];
                }
                _ if *byte == b'%' => rest = tail,
                _ => {
                    out.push(*byte);
                    rest = tail;
                }
            }
        }
        out
    }

    /// Prefix, namespace, kind and key of a name: a name that can be read back is no other's.
    fn parts(name: &[u8]) -> [Vec<u8>; 4] {
        let open = name.iter().position(|byte| *byte == b'{').unwrap();
        let key = &name[open + 1..name.len() - 1];
        let mut before = name[..open - 1].rsplitn(3, |byte| *byte == b':');
        let [kind, namespace, prefix] = [(); 3].map(|()| before.next().unwrap());
        [unescape(prefix), unescape(namespace), kind.to_vec(), unescape(key)]
    }

    /// Bytes that are likely to be mixed up.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let byte =
            prop_oneof![prop::sample::select(b":{}*?[]\\^%0ev1lk\0 \xff".to_vec()), any::<u8>(),];
        prop::collection::vec(byte, 0..6)
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            any::<u64>().prop_map(Kind::Entry),
            any::<u64>().prop_map(Kind::Lease),
            Just(Kind::LeaseFence),
            Just(Kind::Lock),
            Just(Kind::LockFence),
        ]
    }

    proptest! {
        #[test]
        fn a_name_is_read_back_to_its_parts(
            prefix in part(), namespace in part(), kind in kind(), key in part(),
        ) {
            let name = name(&prefix, &namespace, kind, &key);
            let [found_prefix, found_namespace, found_kind, found_key] = parts(&name);
            prop_assert_eq!((found_prefix, found_namespace, found_key), (prefix, namespace, key));
            let expected = match kind {
                Kind::Entry(version) => format!("e{version}"),
                Kind::Lease(version) => format!("l{version}"),
                Kind::LeaseFence => "lf".into(),
                Kind::Lock => "k".into(),
                Kind::LockFence => "kf".into(),
            };
            prop_assert_eq!(found_kind, expected.into_bytes());
        }

        #[test]
        fn equal_names_have_equal_parts(
            a in (part(), part(), kind(), part()), b in (part(), part(), kind(), part()),
        ) {
            let same = name(&a.0, &a.1, a.2, &a.3) == name(&b.0, &b.1, b.2, &b.3);
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn a_pattern_of_one_namespace_means_itself(prefix in part(), namespace in part()) {
            let pattern = Names::new(&prefix, &namespace, LONGEST).entries();
            let special = pattern.iter().filter(|byte| b"*?[]\\^".contains(byte)).count();
            prop_assert_eq!((special, pattern.last()), (1, Some(&b'*')));
        }

        #[test]
        fn what_belongs_to_a_key_shares_a_slot(key in part(), a in kind(), b in kind()) {
            let tag = |name: Vec<u8>| {
                let open = name.iter().position(|byte| *byte == b'{').unwrap();
                let close = name[open..].iter().position(|byte| *byte == b'}').unwrap();
                name[open + 1..open + close].to_vec()
            };
            let (one, other) = (tag(name(b"p", b"n", a, &key)), tag(name(b"p", b"n", b, &key)));
            prop_assert!(!one.is_empty() && one == other);
        }

        #[test]
        fn no_names_of_others_are_taken_for_entries(
            prefix in part(), namespace in part(), kind in kind(), key in part(),
        ) {
            let names = Names::new(b"p", b"n", LONGEST);
            let ours = prefix == b"p" && namespace == b"n";
            let expected = match kind {
                Kind::Entry(version) if ours => Some(version),
                _ => None,
            };
            let found = names.entry_version(&name(&prefix, &namespace, kind, &key));
            prop_assert_eq!(found, expected);
            prop_assert_eq!(names.entry_version(&key), None);
            prop_assert_eq!(names.entry_version(&names.version()), None);
        }

        #[test]
        fn entries_are_read_back_and_nothing_else_is(
            kind in kind(), key in part(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let names = Names::new(b"p", b"n", 6);
            let name = names.of(kind, &key).unwrap();
            let expected = match kind {
                Kind::Entry(version) => Some((version, key)),
                _ => None,
            };
            prop_assert_eq!(name.starts_with(&names.tracked()), expected.is_some());
            prop_assert_eq!(names.read_entry(&name), expected);
            let mut other = name;
            let at = at.index(other.len());
            other[at] = byte;
            if let Some((version, key)) = names.read_entry(&other) {
                prop_assert_eq!(names.of(Kind::Entry(version), &key).unwrap(), other);
            }
        }
    }

    #[test]
    fn names_are_what_they_always_were() {
        let entry = name(b"app:eu", b"users", Kind::Entry(7), b"a:b {c}");
        assert_eq!(entry, b"app:eu:users:e7:{a%3Ab%20%7Bc%7D}");
        assert_eq!(name(b"app", b"", Kind::Lease(7), b""), b"app::l7:{%}");
        assert_eq!(name(b"app", b"", Kind::LeaseFence, b"a"), b"app::lf:{a}");
        assert_eq!(Names::new(b"app", b"users", 9).version(), b"app:users:v");
        assert_eq!(Names::new(b"app", b"a:b*", 9).channel(), b"app:a%3Ab%2A:c");
    }

    #[test]
    fn names_that_stand_for_no_key_are_not_read() {
        let names = Names::new(b"p", b"n", 4);
        assert_eq!(names.read_entry(b"p:n:e7:{%}"), Some((7, vec![])));
        assert_eq!(names.read_entry(b"p:n:e7:{a%3A}"), Some((7, b"a:".to_vec())));
        let wrong = [
            "p:n:e7:{}",
            "p:n:e7:{a%3a}",
            "p:n:e7:{a%3}",
            "p:n:e7:{%%}",
            "p:n:e7:{a:}",
            "p:n:e7:{%41}",
            "p:n:e07:{a}",
            "p:n:e:{a}",
            "p:n:e7:{12345}",
            "p:n:e7:{a",
            "p:n:e7:a",
            "p:n:e7:e1:{a}",
            "p:n:extra:e1:{a}",
            "p:n:e99999999999999999999:{a}",
            "p:m:e7:{a}",
            "p:n:e",
            "",
        ];
        for name in wrong {
            assert_eq!(names.read_entry(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn keys_of_a_mebibyte_differ_and_longer_ones_are_refused() {
        let long = |last: u8| [vec![b'x'; (1 << 20) - 1], vec![last]].concat();
        let [a, b] = [0, 1].map(|last| name(b"p", b"n", Kind::LeaseFence, &long(last)));
        assert_ne!(a, b);
        let refused = Names::new(b"p", b"n", 4).of(Kind::LeaseFence, b"12345");
        assert!(matches!(refused, Err(StoreError::TooLarge { size: 5, limit: 4, .. })));
    }
}
