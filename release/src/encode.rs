//! Values as bytes, in postcard's encoding.

use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// Bytes in memory. Those of postcard's own that begin with some are written one by one, which for the digests of a leaf
/// takes longer than all else that is done with it.
struct Buffer(Vec<u8>);

impl Flavor for Buffer {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// `bytes`, and after them the value. Of a value all lengths are known, and nothing is a map or a float.
pub(crate) fn append(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    // So this cannot fail.
    postcard::serialize_with_flavor(value, Buffer(bytes)).unwrap_or_default()
}
