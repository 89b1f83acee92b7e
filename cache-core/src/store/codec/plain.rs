//! Values that are bytes already.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Codec, CodecError};

/// Bytes and text as they are.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // made by its name
pub struct Plain;

/// Implements [`Codec`] for what is bytes already, or text.
macro_rules! plain {
    ($($value:ty: $decode:expr;)*) => {$(
        impl Codec<$value> for Plain {
            const ID: u8 = 0;

            fn encode(&self, value: &$value, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(AsRef::<[u8]>::as_ref(&**value));
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Result<$value, CodecError> {
                let decode: fn(&[u8]) -> Result<$value, CodecError> = $decode;
                decode(bytes)
            }
        }
    )*};
}

plain! {
    Vec<u8>: |bytes| Ok(bytes.to_vec());
    Box<[u8]>: |bytes| Ok(bytes.into());
    Arc<[u8]>: |bytes| Ok(bytes.into());
    String: |bytes| Ok(core::str::from_utf8(bytes)?.to_owned());
    Box<str>: |bytes| Ok(core::str::from_utf8(bytes)?.into());
    Arc<str>: |bytes| Ok(core::str::from_utf8(bytes)?.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_none_is_refused() {
        let text: Result<String, _> = Plain.decode(&[0xff]);
        assert!(text.is_err());
        let mut bytes = Vec::new();
        Plain.encode(&"ä".to_owned(), &mut bytes).unwrap();
        let text: Arc<str> = Plain.decode(&bytes).unwrap();
        assert_eq!(&*text, "ä");
    }
}
