//! Files that hold frames.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::task::JoinError;

use super::budget::signed;
use super::manifest::{TRAILER_BYTES, Trailer};
use crate::error::panic_of;

/// The bytes that all outputs of a store have on disk.
#[derive(Debug)]
pub(crate) struct DiskUsage {
    pub(crate) used: AtomicU64,
    pub(crate) gauge: IntGauge,
}

/// A file of an output: its runs while it is being written, or all of it afterwards. Removed when
/// its output is released, at the latest when nobody refers to it any more.
#[derive(Debug)]
pub(crate) struct DiskFile {
    path: PathBuf,
    contents: Contents,
    size: Mutex<Size>,
    usage: Arc<DiskUsage>,
}

#[derive(Debug, Default)]
struct Size {
    bytes: u64,
    /// Bytes that are still appended count for nothing: nobody can take them off again.
    removed: bool,
}

#[derive(Debug)]
enum Contents {
    /// Grows; its writer has it open anyway.
    Runs(Arc<File>),
    /// Complete. Opened by whoever reads it, so that many finished outputs need no descriptors.
    Committed { length: u64, trailer: Trailer },
}

impl DiskFile {
    pub(crate) fn create_runs(path: PathBuf, usage: Arc<DiskUsage>) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(DiskFile {
            path,
            contents: Contents::Runs(Arc::new(file)),
            size: Mutex::default(),
            usage,
        })
    }

    /// Takes responsibility for a complete file at `path`.
    pub(crate) fn committed(
        path: PathBuf,
        length: u64,
        trailer: Trailer,
        usage: Arc<DiskUsage>,
    ) -> Self {
        let file = DiskFile {
            path,
            contents: Contents::Committed { length, trailer },
            size: Mutex::default(),
            usage,
        };
        file.grow(length);
        file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.size.lock().bytes
    }

    fn grow(&self, bytes: u64) {
        let mut size = self.size.lock();
        size.bytes += bytes;
        if !size.removed {
            self.usage.used.fetch_add(bytes, Ordering::Relaxed);
            self.usage.gauge.add(signed(bytes));
        }
    }

    /// Appends to a file of runs; tells where. One at a time: the caller holds the spill lock.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let Contents::Runs(file) = &self.contents else {
            return Err(io::Error::other("the file is complete"));
        };
        let offset = self.bytes();
        file.write_all_at(bytes, offset)?;
        self.grow(bytes.len() as u64);
        Ok(offset)
    }

    /// Removes the file. Whoever has it open keeps what is in it until they are done.
    pub(crate) fn remove(&self) {
        {
            let mut size = self.size.lock();
            if std::mem::replace(&mut size.removed, true) {
                return;
            }
            self.usage.used.fetch_sub(size.bytes, Ordering::Relaxed);
            self.usage.gauge.sub(signed(size.bytes));
        }
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "exchange file not removed");
            }
        }
    }

    /// Opens the file for reading. One that is not as it was committed is refused.
    pub(crate) fn open(&self) -> Result<Arc<File>, ReadFault> {
        match &self.contents {
            Contents::Runs(file) => Ok(Arc::clone(file)),
            Contents::Committed { length, trailer } => {
                let file = File::open(&self.path).map_err(ReadFault::from)?;
                let found = file.metadata().map_err(ReadFault::from)?.len();
                if found != *length {
                    return Err(ReadFault::Damaged(format!(
                        "it has {found} bytes instead of {length}"
                    )));
                }
                let mut last = [0; TRAILER_BYTES];
                file.read_exact_at(&mut last, length.saturating_sub(TRAILER_BYTES as u64))
                    .map_err(ReadFault::from)?;
                if last != trailer.0 {
                    return Err(ReadFault::Damaged("it is another file".to_string()));
                }
                Ok(Arc::new(file))
            }
        }
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Why bytes could not be read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadFault {
    /// The bytes are gone or wrong, and will stay so.
    Damaged(String),
    /// The process has run out of something; the file may be fine.
    Resource(String),
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        // Too many open files, in the process or the system, have no kind of their own.
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        if matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
            || error.kind() == io::ErrorKind::OutOfMemory
        {
            ReadFault::Resource(error.to_string())
        } else {
            ReadFault::Damaged(error.to_string())
        }
    }
}

impl From<JoinError> for ReadFault {
    fn from(error: JoinError) -> Self {
        match panic_of(error) {
            Some(text) => ReadFault::Damaged(format!("reading it panicked: {text}")),
            None => ReadFault::Resource("the runtime is shutting down".to_string()),
        }
    }
}

/// A frame in a file.
#[derive(Debug, Clone)]
pub(crate) struct DiskFrame {
    pub(crate) file: Arc<DiskFile>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u32,
    pub(crate) crc32: u32,
}

impl DiskFrame {
    /// Reads the frame's bytes, unchecked.
    pub(crate) fn read_from(&self, file: &File) -> Result<Bytes, ReadFault> {
        let length = usize::try_from(self.bytes)
            .map_err(|_| ReadFault::Resource("frame larger than memory".to_string()))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(Bytes::from(bytes))
    }
}

/// Remembers the file that was read last, as the next frame is most likely in it too.
#[derive(Debug, Default)]
pub(crate) struct OpenFile(Option<(Arc<DiskFile>, Arc<File>)>);

impl OpenFile {
    /// Reads a frame's bytes, unchecked, away from the async threads.
    pub(crate) async fn read(&mut self, frame: &DiskFrame) -> Result<Bytes, ReadFault> {
        let known = self.0.take();
        let wanted = frame.clone();
        let read = tokio::task::spawn_blocking(move || {
            let file = match known {
                Some((of, file)) if Arc::ptr_eq(&of, &wanted.file) => file,
                _ => wanted.file.open()?,
            };
            let bytes = wanted.read_from(&file)?;
            Ok::<_, ReadFault>((bytes, wanted.file, file))
        });
        let (bytes, of, file) = read.await.map_err(ReadFault::from)??;
        self.0 = Some((of, file));
        Ok(bytes)
    }

    /// Lets go of the file.
    pub(crate) fn close(&mut self) {
        self.0 = None;
    }
}
