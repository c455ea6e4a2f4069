//! Whether bytes are still those that were encoded.

/// Whether a frame's bytes are not those that the checksum was taken of.
pub(crate) fn is_damaged(bytes: &[u8], crc32: u32) -> bool {
    #[cfg(feature = "sabotage")]
    if paceline_sabotage::leaves_out(paceline_sabotage::Check::Checksum) {
        return false;
    }
    crc32fast::hash(bytes) != crc32
}
