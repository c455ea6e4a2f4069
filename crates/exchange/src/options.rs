//! How an output store is set up.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use arrow::ipc::CompressionType;
use paceline_model::ByteSize;

/// How frames are compressed, on disk and between machines. Batches in memory never are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all: the least CPU, the most bytes.
    None,
    /// Fast, and about half the bytes.
    #[default]
    Lz4,
    /// Fewer bytes than LZ4, at several times its cost.
    Zstd,
}

impl Compression {
    pub(crate) fn codec(self) -> Option<CompressionType> {
        match self {
            Compression::None => None,
            Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
            Compression::Zstd => Some(CompressionType::ZSTD),
        }
    }

    /// The word that [`FromStr`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a compression: write none, lz4 or zstd")]
pub struct UnknownCompression {
    /// What was read.
    pub text: String,
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        [Compression::None, Compression::Lz4, Compression::Zstd]
            .into_iter()
            .find(|compression| compression.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownCompression {
                text: text.to_string(),
            })
    }
}

/// How an [`OutputStore`](crate::OutputStore) is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes of batches that the store keeps in memory. What comes beyond goes to disk.
    pub memory_limit: ByteSize,
    /// What one attempt may always buffer, even when the memory above is used up by others: runs on
    /// disk are at least about so large. The store may exceed its limit by so much for each attempt
    /// that is writing.
    pub attempt_buffer: ByteSize,
    /// Where outputs go that do not fit in memory. May be shared with other processes: each makes
    /// a directory of its own in it, and removes those of processes that are gone.
    pub directory: PathBuf,
    /// How frames are compressed, on disk and on the wire.
    pub compression: Compression,
    /// Whether they are compressed for readers on the same machine as well.
    pub compress_nearby: bool,
}

impl StoreOptions {
    /// Options with 512 MiB of memory, 4 MiB for each attempt, and LZ4 between machines.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        StoreOptions {
            memory_limit: ByteSize::mib(512),
            attempt_buffer: ByteSize::mib(4),
            directory: directory.into(),
            compression: Compression::default(),
            compress_nearby: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_read_as_they_are_written() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert!("gzip".parse::<Compression>().is_err());
    }
}
