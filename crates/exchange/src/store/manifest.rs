//! What stands at the end of an output's file.
//!
//! ```text
//!   frames of the first partition │ frames of the next │ … │ manifest │ trailer
//! ```
//!
//! The manifest lists every partition with its rows, bytes and checksum, and every frame with its
//! place, rows and checksum. The trailer, of a fixed size, says where the manifest begins and has
//! its checksum; so whoever opens a file can tell at once whether it is the one that was committed.
//! All numbers are little-endian.

use paceline_model::PartitionRange;

const MAGIC: [u8; 8] = *b"PACEXCH1";

/// Bytes at the end of a file that are always there.
pub(crate) const TRAILER_BYTES: usize = 8 + 8 + 4 + 4 + 8;

/// One frame's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameEntry {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u32,
    pub(crate) crc32: u32,
}

/// One partition's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartitionEntry {
    pub(crate) rows: u64,
    /// Of the frames, as they lie there.
    pub(crate) bytes: u64,
    /// Of the frames one after the other.
    pub(crate) crc32: u32,
    pub(crate) frames: Vec<FrameEntry>,
}

/// Where everything lies in an output's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) range: PartitionRange,
    pub(crate) partitions: Vec<PartitionEntry>,
}

/// The last bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer(pub(crate) [u8; TRAILER_BYTES]);

impl Manifest {
    /// The manifest and trailer as bytes, to be written at `offset`.
    pub(crate) fn encode(&self, offset: u64) -> (Vec<u8>, Trailer) {
        let frames: usize = self.partitions.iter().map(|p| p.frames.len()).sum();
        let mut out = Vec::with_capacity(self.partitions.len() * 24 + frames * 24 + 64);
        for partition in &self.partitions {
            out.extend(partition.rows.to_le_bytes());
            out.extend(partition.bytes.to_le_bytes());
            out.extend(partition.crc32.to_le_bytes());
            let count = u32::try_from(partition.frames.len()).unwrap_or(u32::MAX);
            out.extend(count.to_le_bytes());
            for frame in &partition.frames {
                out.extend(frame.offset.to_le_bytes());
                out.extend(frame.bytes.to_le_bytes());
                out.extend(frame.rows.to_le_bytes());
                out.extend(frame.crc32.to_le_bytes());
            }
        }
        let mut trailer = [0; TRAILER_BYTES];
        let fields = [
            &offset.to_le_bytes()[..],
            &u64::from(self.range.first).to_le_bytes(),
            &self.range.count.to_le_bytes(),
            &crc32fast::hash(&out).to_le_bytes(),
            &MAGIC,
        ];
        for (place, byte) in trailer.iter_mut().zip(fields.concat()) {
            *place = byte;
        }
        out.extend(trailer);
        (out, Trailer(trailer))
    }

    /// Reads back what [`encode`](Self::encode) wrote at the end of `file`; none if anything about
    /// it is wrong.
    #[cfg(test)]
    pub(crate) fn parse(file: &[u8]) -> Option<Self> {
        let (body, trailer) = file.split_last_chunk::<TRAILER_BYTES>()?;
        let mut trailer = Fields(trailer);
        let offset = usize::try_from(trailer.u64()?).ok()?;
        let first = u32::try_from(trailer.u64()?).ok()?;
        let (count, crc32) = (trailer.u32()?, trailer.u32()?);
        let entries = body.get(offset..)?;
        if trailer.0 != MAGIC || crc32fast::hash(entries) != crc32 {
            return None;
        }
        let mut entries = Fields(entries);
        let mut partitions = Vec::new();
        for _ in 0..count {
            let (rows, bytes) = (entries.u64()?, entries.u64()?);
            let (crc32, frames) = (entries.u32()?, entries.u32()?);
            let frames = (0..frames).map(|_| {
                Some(FrameEntry {
                    offset: entries.u64()?,
                    bytes: entries.u64()?,
                    rows: entries.u32()?,
                    crc32: entries.u32()?,
                })
            });
            partitions.push(PartitionEntry {
                rows,
                bytes,
                crc32,
                frames: frames.collect::<Option<_>>()?,
            });
        }
        entries.0.is_empty().then_some(Manifest {
            range: PartitionRange::new(first, count),
            partitions,
        })
    }
}

#[cfg(test)]
struct Fields<'a>(&'a [u8]);

#[cfg(test)]
impl Fields<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*field))
    }

    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_back_and_damage_is_noticed() {
        let frame = FrameEntry {
            offset: 3,
            bytes: 2,
            rows: 9,
            crc32: 7,
        };
        let manifest = Manifest {
            range: PartitionRange::new(4, 2),
            partitions: vec![
                PartitionEntry::default(),
                PartitionEntry {
                    rows: 9,
                    bytes: 2,
                    crc32: 7,
                    frames: vec![frame],
                },
            ],
        };
        let mut file = b"12345".to_vec();
        let (bytes, trailer) = manifest.encode(5);
        file.extend(&bytes);
        assert!(file.ends_with(&trailer.0));
        assert_eq!(Manifest::parse(&file), Some(manifest));
        for at in 5..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            let range_only = (file.len() - 24..file.len() - 12).contains(&at);
            assert!(
                Manifest::parse(&damaged).is_none() || range_only,
                "byte {at}"
            );
        }
    }
}
