//! Lua that Redis runs in one step, found by its hash and sent whole only where it is not known.

use std::sync::LazyLock;

use redis::{Cmd, Value};

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

macro_rules! script {
    ($text:expr) => {
        Script::new(|| {
            let text: &'static str = $text;
            (redis::Script::new(text).get_hash().to_owned(), text)
        })
    };
}

/// The namespace's version: the one that is kept, or with `new` a next one, which is above all before
/// and not below the server's time in microseconds. So a number is not used again, even when the key was
/// lost.
pub(crate) static VERSION: Script = script!(
    "local kept = redis.call('GET', KEYS[1])
     if not (kept and #kept <= 16 and string.match(kept, '^%d+$')) then kept = nil end
     if kept and ARGV[1] ~= 'new' then return kept end
     local time = redis.call('TIME')
     local next = math.max(tonumber(kept or '0') + 1, time[1] * 1000000 + time[2])
     local text = string.format('%.0f', next)
     redis.call('SET', KEYS[1], text)
     return text"
);

/// A lease where there is none: answers its number, which is above all before, and not below the server's
/// time in microseconds, so that a server which forgot everything goes on from there. The number outlives
/// the lease by the time that clocks may be set back.
pub(crate) static ACQUIRE: Script = script!(
    "if redis.call('EXISTS', KEYS[1]) == 1 then return false end
     local time = redis.call('TIME')
     local last = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
     local fence = math.max(last + 1, time[1] * 1000000 + time[2])
     local text = string.format('%.0f', fence)
     redis.call('SET', KEYS[2], text, 'PX', ARGV[3])
     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
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
