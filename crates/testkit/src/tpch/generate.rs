use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::{Scale, Table};

/// Counts changes to how the tables are written, so that data of an older layout is not reused.
const LAYOUT: u32 = 1;
const GENERATOR: &str = "tpchgen 4";
const MARKER: &str = "complete.json";
/// Small enough that a file of a large table has several.
const ROWS_PER_ROW_GROUP: usize = 250_000;

/// Hears how many rows were written, and says whether to go on.
type Written<'a> = &'a (dyn Fn(u64) -> ControlFlow<()> + Sync);

/// The eight tables at one scale, on disk: a directory of Parquet files for each.
#[derive(Debug, Clone)]
pub struct Dataset {
    directory: PathBuf,
    scale: Scale,
}

/// Why there is no data.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A file or directory could not be made.
    #[error("cannot write the TPC-H tables to {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A Parquet file could not be written.
    #[error("cannot write {path}: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the writer says.
        source: ParquetError,
    },
    /// Who asked for the data wants it no more.
    #[error("interrupted while writing the TPC-H tables")]
    Interrupted,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Marker {
    generator: String,
    layout: u32,
    scale: f64,
}

impl Marker {
    fn of(scale: Scale) -> Self {
        Marker {
            generator: GENERATOR.to_string(),
            layout: LAYOUT,
            scale: scale.factor(),
        }
    }

    /// Whether `directory` holds exactly what would be generated now.
    fn stands_in(&self, directory: &Path) -> bool {
        fs::read(directory.join(MARKER))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok())
            .is_some_and(|found| found == *self)
    }
}

struct Piece {
    table: Table,
    file: u32,
    files: u32,
}

impl Dataset {
    /// The data below `parent`, if a complete set of this scale is there.
    pub fn find(parent: &Path, scale: Scale) -> Option<Dataset> {
        let directory = parent.join(format!("tpch-sf{scale}"));
        Marker::of(scale)
            .stands_in(&directory)
            .then_some(Dataset { directory, scale })
    }

    /// The data below `parent`, generated if it is not there yet, on `threads` threads.
    /// `written` is called with the rows of every batch, from any of them, and may end the work.
    ///
    /// The directory appears whole or not at all: it is written under another name beside its
    /// place and renamed.
    ///
    /// # Errors
    /// [`GenerateError`] naming the file that could not be written.
    pub fn find_or_generate(
        parent: &Path,
        scale: Scale,
        threads: usize,
        written: Written<'_>,
    ) -> Result<Dataset, GenerateError> {
        if let Some(found) = Dataset::find(parent, scale) {
            return Ok(found);
        }
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| GenerateError::Io { path, source }
        };
        fs::create_dir_all(parent).map_err(at(parent))?;
        let unfinished = tempfile::Builder::new()
            .prefix(&format!(".tpch-sf{scale}-"))
            .tempdir_in(parent)
            .map_err(at(parent))?;
        write_tables(unfinished.path(), scale, threads.max(1), written)?;
        let marker = unfinished.path().join(MARKER);
        let text = serde_json::to_vec_pretty(&Marker::of(scale))
            .map_err(|source| at(&marker)(source.into()))?;
        fs::write(&marker, text).map_err(at(&marker))?;

        // Somebody else was quicker: theirs is the same, and may be in use by now.
        if let Some(found) = Dataset::find(parent, scale) {
            return Ok(found);
        }
        let directory = parent.join(format!("tpch-sf{scale}"));
        if directory.exists() {
            // Incomplete, or of another layout: nobody can use it.
            fs::remove_dir_all(&directory).map_err(at(&directory))?;
        }
        match fs::rename(unfinished.path(), &directory) {
            Ok(()) => {}
            Err(_) if Marker::of(scale).stands_in(&directory) => {}
            Err(source) => return Err(at(&directory)(source)),
        }
        Ok(Dataset { directory, scale })
    }

    /// The scale of the data.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Where all of it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of one table's files.
    pub fn location(&self, table: Table) -> PathBuf {
        self.directory.join(table.name())
    }

    /// The statements that make the tables known to a cluster.
    pub fn create_statements(&self) -> Vec<String> {
        Table::ALL
            .iter()
            .map(|&table| {
                format!(
                    "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'",
                    self.location(table)
                        .display()
                        .to_string()
                        .replace('\'', "''")
                )
            })
            .collect()
    }
}

fn write_tables(
    directory: &Path,
    scale: Scale,
    threads: usize,
    written: Written<'_>,
) -> Result<(), GenerateError> {
    let pieces: Vec<Piece> = Table::ALL
        .into_iter()
        .flat_map(|table| {
            let files = table.files(scale);
            (1..=files).map(move |file| Piece { table, file, files })
        })
        .collect();
    for table in Table::ALL {
        let path = directory.join(table.name());
        fs::create_dir(&path).map_err(|source| GenerateError::Io { path, source })?;
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(pieces.len()) {
            scope.spawn(|| {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = write_piece(directory, scale, piece, written) {
                        // Nobody needs the rest any more.
                        next.store(pieces.len(), Ordering::Relaxed);
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
}

fn write_piece(
    directory: &Path,
    scale: Scale,
    piece: &Piece,
    written: Written<'_>,
) -> Result<(), GenerateError> {
    let path = directory
        .join(piece.table.name())
        .join(format!("part-{:04}.parquet", piece.file - 1));
    let parquet = |source| GenerateError::Parquet {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(|source| GenerateError::Io {
        path: path.clone(),
        source,
    })?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_PER_ROW_GROUP))
        .build();
    let mut writer =
        ArrowWriter::try_new(file, piece.table.schema(), Some(properties)).map_err(parquet)?;
    // File counts are far below i32::MAX: a thousand at the largest scale.
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    for batch in piece
        .table
        .generate(scale, number(piece.file), number(piece.files))
    {
        let batch = batch.map_err(|error| parquet(error.into()))?;
        writer.write(&batch).map_err(parquet)?;
        if written(batch.num_rows() as u64).is_break() {
            return Err(GenerateError::Interrupted);
        }
    }
    writer.close().map_err(parquet)?;
    Ok(())
}
