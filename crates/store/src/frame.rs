//! What every object of the state begins with: one line that names the write that made it.
//!
//! ```text
//!   paceline1 <write id, 32 hex digits> <CRC-32 of the payload, 8 hex digits>\n
//!   <payload>
//! ```
//!
//! The write id is in the body, and not in an attribute, because local directories have no
//! attributes, and not an ETag, because those are hashes of the body on some stores.

use bytes::Bytes;
use uuid::Uuid;

const MAGIC: &str = "paceline1";
const HEADER_LEN: usize = MAGIC.len() + 1 + 32 + 1 + 8 + 1;

/// Distinguishes one write from all others, also from one with the same payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteId(Uuid);

impl WriteId {
    pub(crate) fn random() -> Self {
        WriteId(Uuid::new_v4())
    }
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "it is empty, as what a machine wrote whose power was cut; what it said is lost. If no name in its folder has a higher number, remove it, and what came before goes on"
    )]
    Empty,
    #[error("it does not begin as state of Paceline does")]
    Foreign,
    #[error("its payload is damaged or cut short (the checksum differs)")]
    Damaged,
}

/// The body of an object.
pub(crate) fn seal(write: WriteId, payload: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(HEADER_LEN + payload.len());
    let crc = crc32fast::hash(payload);
    body.extend_from_slice(format!("{MAGIC} {} {crc:08x}\n", write.0.simple()).as_bytes());
    body.extend_from_slice(payload);
    Bytes::from(body)
}

/// The write that made a body, and the payload.
pub(crate) fn open(body: &Bytes) -> Result<(WriteId, Bytes), FrameError> {
    if body.is_empty() {
        return Err(FrameError::Empty);
    }
    let header = body.get(..HEADER_LEN).ok_or(FrameError::Foreign)?;
    let text = std::str::from_utf8(header).map_err(|_| FrameError::Foreign)?;
    let line = text.strip_suffix('\n').ok_or(FrameError::Foreign)?;
    let mut words = line.split(' ');
    let (Some(MAGIC), Some(id), Some(crc), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(FrameError::Foreign);
    };
    let id = Uuid::try_parse(id).map_err(|_| FrameError::Foreign)?;
    let crc = u32::from_str_radix(crc, 16).map_err(|_| FrameError::Foreign)?;
    let payload = body.slice(HEADER_LEN..);
    if crc32fast::hash(&payload) != crc {
        return Err(FrameError::Damaged);
    }
    Ok((WriteId(id), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = b"paceline1 00112233445566778899aabbccddeeff 3610a686\nhello";

    #[test]
    fn the_format_is_frozen() {
        let write = WriteId(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
        assert_eq!(seal(write, b"hello"), GOLDEN);
        let (id, payload) = open(&Bytes::from_static(GOLDEN)).unwrap();
        assert_eq!((id, &payload[..]), (write, &b"hello"[..]));
    }

    #[test]
    fn equal_payloads_have_unequal_bodies() {
        assert_ne!(seal(WriteId::random(), b"x"), seal(WriteId::random(), b"x"));
    }

    #[test]
    fn every_damage_is_noticed() {
        for cut in 0..GOLDEN.len() {
            assert!(open(&Bytes::copy_from_slice(&GOLDEN[..cut])).is_err());
        }
        // Of the header, the write id alone is free to be anything.
        for place in (0..10).chain(42..GOLDEN.len()) {
            let mut body = GOLDEN.to_vec();
            body[place] ^= 0x01;
            assert!(open(&Bytes::from(body)).is_err(), "byte {place}");
        }
    }
}
