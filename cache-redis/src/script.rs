//! Lua that Redis runs in one step, found by its hash and sent whole only where it is not known.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, Value};

use crate::error::ServerError;
use crate::link::Link;
use crate::reply;

/// A script and its hash.
pub(crate) struct Script(LazyLock<(String, &'static str)>);

impl Script {
    const fn new(make: fn() -> (String, &'static str)) -> Self {
        Self(LazyLock::new(make))
    }

    fn command(&self, name: &str, text: &str, keys: &[&[u8]], arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(text).arg(keys.len());
        for part in keys.iter().chain(arguments) {
            command.arg(*part);
        }
        command
    }

    /// One more command of a pipeline: the script by its hash, or `whole`.
    pub(crate) fn add(&self, whole: bool, keys: &[&[u8]], arguments: &[&[u8]], to: &mut Pipeline) {
        let (hash, text) = &*self.0;
        let (name, said) = if whole { ("EVAL", *text) } else { ("EVALSHA", hash.as_str()) };
        to.add_command(self.command(name, said, keys, arguments));
    }

    /// What the script answers.
    pub(crate) async fn run(
        &self,
        link: &mut Link,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<Value, ServerError> {
        let (hash, text) = &*self.0;
        let answer = link.ask(&self.command("EVALSHA", hash, keys, arguments)).await?;
        if !reply::is_unknown_script(&answer) {
            return reply::value(answer);
        }
        reply::value(link.ask(&self.command("EVAL", text, keys, arguments)).await?)
    }
}

/// Whether this is the hash or the text of a script that writes a value.
pub(crate) fn writes_a_value(said: &[u8]) -> bool {
    let is = |script: &&Script| {
        let (hash, text) = &*script.0;
        said == hash.as_bytes() || said == text.as_bytes()
    };
    [&PUT, &ADD, &FILL].iter().any(is)
}

macro_rules! script {
    ($text:expr) => {
        Script::new(|| {
            let text: &'static str = $text;
            (redis::Script::new(text).get_hash().to_owned(), text)
        })
    };
}

/// The namespace's version: the one that is kept, or else a first one, which is the server's time in
/// microseconds. So a number is not used again, even when the key was lost.
pub(crate) static VERSION: Script = script!(
    "local kept = redis.call('GET', KEYS[1])
     if kept and #kept <= 16 and string.match(kept, '^%d+$') then return kept end
     local time = redis.call('TIME')
     local text = string.format('%.0f', time[1] * 1000000 + time[2])
     redis.call('SET', KEYS[1], text)
     return text"
);

/// A next version of the namespace, above all before and not below the server's time in microseconds, and
/// the message of it. The first write needs no memory, so that a server that has none left does the other, which
/// takes the expiry away again.
pub(crate) static CLEAR: Script = script!(
    "redis.call('PUBLISH', ARGV[1], ARGV[2])
     redis.call('PEXPIRE', KEYS[1], 1000)
     local kept = redis.call('GET', KEYS[1])
     if not (kept and #kept <= 16 and string.match(kept, '^%d+$')) then kept = '0' end
     local time = redis.call('TIME')
     local next = math.max(tonumber(kept) + 1, time[1] * 1000000 + time[2])
     local text = string.format('%.0f', next)
     redis.call('SET', KEYS[1], text)
     return text"
);

/// A lease where there is none: answers its number, which is above all before, and not below the server's
/// time in microseconds, so that a server which forgot everything goes on from there. The number outlives
/// the lease by the time that clocks may be set back. It is asked for by a write where it is taken, too: a server
/// that takes no writes says so to those who would wait for a holder who can leave nothing there.
pub(crate) static ACQUIRE: Script = script!(
    "local last = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
     local time = redis.call('TIME')
     if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
     local fence = math.max(last + 1, time[1] * 1000000 + time[2])
     local text = string.format('%.0f', fence)
     redis.call('SET', KEYS[2], text, 'PX', ARGV[3])
     return text"
);

/// A longer life for a lease with this token.
pub(crate) static RENEW: Script = script!(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     redis.call('PEXPIRE', KEYS[2], ARGV[3])
     return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
);

/// The end of a lease with this token, and of no other.
pub(crate) static RELEASE: Script = script!(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     return redis.call('DEL', KEYS[1])"
);

/// What every change of an entry begins with: it is told. Whoever is told can ask only when the whole script
/// has run. So nothing is changed in silence, not even where the user may not publish: then the script ends
/// here.
macro_rules! tell {
    () => {
        "redis.call('PUBLISH', ARGV[1], ARGV[2])
         "
    };
}

/// The end of the entry's lease. Not the first write of a script that needs memory: a server that has none
/// left refuses only the first.
macro_rules! end_lease {
    () => {
        "redis.call('DEL', KEYS[2])
         "
    };
}

/// The server's time in microseconds since 1970.
macro_rules! now {
    () => {
        "local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         "
    };
}

/// What an entry's first bytes say: when it was written, since when it is stale or 0, and its ttl, windows and age
/// then in milliseconds; nothing where they cannot be read. See [`stamp`](crate::stamp), and `envelope` in the core.
macro_rules! life {
    () => {
        r"local function life(head)
             if type(head) ~= 'string' or #head < 64 then return end
             if string.sub(head, 25, 27) ~= '\172\225\1' then return end
             local written, stale, sum = struct.unpack('>I8I8I8', head)
             if written + stale ~= sum then return end
             local function millis(at)
                 local high, low = struct.unpack('>I4I4', head, at)
                 return (high * 4294967296 + low) / 1000000
             end
             return written, stale, millis(33), millis(41), millis(49), millis(57)
         end
         local head = redis.pcall('GETRANGE', KEYS[1], 0, 63)
         "
    };
}

/// Keeps bytes behind the time from which their life counts, or nothing where it is over. That is the time at which
/// they were sent, if it is known, so that they are no younger if they come late.
macro_rules! keep {
    () => {
        concat!(
            tell!(),
            "if ARGV[4] == '0' then redis.call('UNLINK', KEYS[1])
             else
                 local since = math.min(now, tonumber(ARGV[5]) or now)
                 local stamp = struct.pack('>I8I8I8', since, 0, since)
                 redis.call('SET', KEYS[1], stamp .. ARGV[3], 'PX', ARGV[4])
             end
             ",
            end_lease!(),
            "return 1"
        )
    };
}

/// Another entry in place of what is there.
pub(crate) static PUT: Script = script!(concat!(now!(), keep!()));

/// An entry where there is none that is fresh or stale, or one that was written at this microsecond, whose tags
/// have ended it. What cannot be read is left alone.
pub(crate) static ADD: Script = script!(concat!(
    now!(),
    life!(),
    "if head ~= '' then
         local written, stale, ttl, swr, _, age = life(head)
         if not written then return 0 end
         if stale ~= 0 then ttl = math.min(ttl, age + (stale - written) / 1000) end
         local over = age + (now - written) / 1000 >= ttl + swr
         if not over and string.format('%.0f', written) ~= ARGV[6] then return 0 end
     end
     ",
    keep!()
));

/// An entry that was loaded under the lease with this token, if that is in force.
pub(crate) static FILL: Script = script!(concat!(
    "if redis.call('GET', KEYS[2]) ~= ARGV[6] then return 0 end
     ",
    now!(),
    keep!()
));

/// The end of an entry whose load found nothing, if the lease with this token is in force: that is what it answers,
/// whether or not there was an entry.
pub(crate) static VACATE: Script = script!(concat!(
    "if redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
     ",
    tell!(),
    end_lease!(),
    "redis.call('UNLINK', KEYS[1])
     return 1"
));

/// The end of an entry.
pub(crate) static REMOVE: Script =
    script!(concat!(tell!(), end_lease!(), "return redis.call('UNLINK', KEYS[1])"));

/// The end of an entry's freshness: it says since when it is stale, and Redis keeps it for its windows after
/// freshness only. What cannot be read goes, and so does what has no such windows.
pub(crate) static EXPIRE: Script = script!(concat!(
    tell!(),
    end_lease!(),
    now!(),
    life!(),
    "if head == '' then return 0 end
     local written, stale, _, swr, sie = life(head)
     local tail = written and math.min(math.ceil(math.max(swr, sie)), tonumber(ARGV[3])) or 0
     if tail < 1 then redis.call('UNLINK', KEYS[1]) return 1 end
     if stale == 0 then
         redis.call('SETRANGE', KEYS[1], 0, struct.pack('>I8I8I8', written, now, written + now))
     end
     tail = math.min(tail + ARGV[4], tonumber(ARGV[3]))
     local left = redis.call('PTTL', KEYS[1])
     if left < 0 or left > tail then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tail)) end
     return 1"
));

/// A change of a tag: told, numbered above all before and not below the server's time in microseconds, and kept with
/// the tag, as its last invalidation or as one of its last four expirations; and with other changes, of which a hundred
/// are kept. The first write needs no memory, so that a server that has none left does the others.
pub(crate) static CHANGE_TAG: Script = script!(concat!(
    tell!(),
    now!(),
    "local kept, px = redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2])
     redis.call('PEXPIRE', KEYS[2], ARGV[4])
     local last = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
     local number = string.format('%.0f', math.max(last + 1, now))
     redis.call('SET', KEYS[1], number)
     local since = last > 0 and string.format('%.0f', last) or number
     local log = redis.call('GET', KEYS[3]) or since .. ':0 '
     log = string.sub(number .. ':' .. ARGV[5] .. ' ' .. log, 1, 3400)
     redis.call('SET', KEYS[3], log, 'PX', ARGV[4])
     local invalidated, expired = '0', {}
     for word in string.gmatch(kept or '', '%d+') do expired[#expired + 1] = word end
     if #expired > 0 then invalidated = table.remove(expired, 1) end
     if ARGV[3] == 'i' then invalidated = number else expired[#expired + 1] = number end
     if #expired > 4 then table.remove(expired, 1) end
     table.insert(expired, 1, invalidated)
     px = math.max(px, tonumber(ARGV[4]))
     redis.call('SET', KEYS[2], table.concat(expired, ' '), 'PX', string.format('%.0f', px))
     return number"
));

/// What has happened to tags, for an entry that is to be kept with them; all are kept as long as the entry. A tag of
/// which nothing is known was never used, or its string was lost: it is as if it was invalidated last before the
/// entry's value was loaded, where the changes since are known and none is of it, and else, as if it was now.
/// Answers the number of the last change first.
pub(crate) static USE_TAGS: Script = script!(concat!(
    now!(),
    "local last = redis.call('GET', KEYS[1])
     if not (last and #last <= 16 and string.match(last, '^%d+$')) then
         last = string.format('%.0f', now)
         redis.call('SET', KEYS[1], last)
     end
     local seen = tonumber(ARGV[2]) or tonumber(last)
     local function base(hash)
         if seen >= tonumber(last) then return last end
         for number, of in string.gmatch(redis.call('GET', KEYS[2]) or '', '(%d+):(%x+) ') do
             if tonumber(number) <= seen then return ARGV[2] end
             if of == hash then return last end
         end
         return last
     end
     local answer = {last}
     local px = tonumber(ARGV[1])
     for n = 3, #KEYS do
         local kept = redis.call('GET', KEYS[n])
         if not kept then
             kept = base(string.sub(KEYS[n], -16))
             redis.call('SET', KEYS[n], kept, 'PX', ARGV[1])
         elseif redis.call('PTTL', KEYS[n]) < px then
             redis.call('PEXPIRE', KEYS[n], ARGV[1])
         end
         answer[n - 1] = kept
     end
     return answer"
));
