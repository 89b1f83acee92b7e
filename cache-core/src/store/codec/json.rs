//! Values as text that others can read.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::{Codec, CodecError, bounded};

/// Values of types that serde knows, as JSON text (RFC 8259). Nested more than 128 deep they cannot
/// be read, nor more than 512 deep with options and new types counted.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // made by its name
pub struct Json;

/// Brackets are counted by the decoder itself. This ends what recurses without any: a new type of
/// an option of itself.
const DEEPEST: u16 = 512;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    const ID: u8 = 1;

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.append(&mut serde_json::to_vec(value).map_err(JsonError::of)?);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let mut decoder = serde_json::Deserializer::from_slice(bytes);
        let value = bounded::decode(&mut decoder, DEEPEST, bytes.len()).map_err(JsonError::of)?;
        decoder.end().map_err(JsonError::of)?;
        Ok(value)
    }
}

/// What is wrong, and where. The text of the error is left aside: it may quote the value.
#[derive(Debug)]
struct JsonError {
    what: &'static str,
    line: usize,
    column: usize,
}

impl JsonError {
    fn of(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            Category::Io => "it cannot be written or read",
            Category::Syntax => "it is no JSON, or nested too deep",
            Category::Data => "it is not of this type",
            Category::Eof => "it ends too early",
        };
        Self { what, line: error.line(), column: error.column() }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, line, column } = self;
        write!(f, "{what}, at line {line}, column {column}")
    }
}

impl Error for JsonError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::super::testing::{Endless, List, on_a_small_stack};
    use super::*;

    #[test]
    fn json_is_read_back_and_other_text_is_not() {
        let mut bytes = Vec::new();
        Json.encode(&Some(3_u32), &mut bytes).unwrap();
        assert_eq!(bytes, b"3");
        let value: Option<u32> = Json.decode(&bytes).unwrap();
        assert_eq!(value, Some(3));
        for wrong in [&b"\"3\""[..], b"3 4", b"", b"3,"] {
            let value: Result<u32, _> = Json.decode(wrong);
            assert!(value.is_err());
        }
    }

    #[test]
    fn errors_tell_what_is_wrong_and_where_and_not_the_value() {
        let shown =
            |bytes: &[u8]| Codec::<(u8, u32)>::decode(&Json, bytes).unwrap_err().to_string();
        assert_eq!(shown(b"[1,\n\"secret\"]"), "it is not of this type, at line 2, column 8");
        assert_eq!(shown(b"[1,secret]"), "it is no JSON, or nested too deep, at line 1, column 4");
        assert_eq!(shown(b"[1"), "it ends too early, at line 1, column 2");
    }

    #[test]
    fn what_is_nested_too_deep_is_an_error() {
        on_a_small_stack(|| {
            let mut bytes = Vec::new();
            Json.encode(&List::of(60), &mut bytes).unwrap();
            assert_eq!(Codec::<List>::decode(&Json, &bytes).unwrap(), List::of(60));
            let deep = b"{\"More\":".repeat(100_000);
            assert!(Codec::<List>::decode(&Json, &deep).is_err());
            assert!(Codec::<Endless>::decode(&Json, b"1").is_err());
        });
    }
}
