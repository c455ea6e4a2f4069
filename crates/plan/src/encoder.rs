//! Rows as the bytes of a file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write;
use std::mem::take;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::MetadataVersion;
use datafusion::arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::common::config::{ConfigFileType, TableOptions};
use datafusion::common::file_options::csv_writer::CsvWriterOptions;
use datafusion::common::file_options::parquet_writer::ParquetWriterOptions;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::{DataFusionError, Result, not_impl_err};
use datafusion::parquet::arrow::ArrowWriter;

/// A row group of a Parquet file ends when it takes this much memory, however few rows it has.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Kinds of files that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Parquet,
    Csv,
    Json,
    Arrow,
}

impl Kind {
    /// The kind as `STORED AS` names it, if it can be written.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "parquet" => Some(Kind::Parquet),
            "csv" => Some(Kind::Csv),
            "json" | "ndjson" => Some(Kind::Json),
            "arrow" => Some(Kind::Arrow),
            _ => None,
        }
    }

    /// What the names of such files end in.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Kind::Parquet => "parquet",
            Kind::Csv => "csv",
            Kind::Json => "json",
            Kind::Arrow => "arrow",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// A kind of file, and what was said under `OPTIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFormat {
    pub(crate) kind: Kind,
    pub(crate) options: BTreeMap<String, String>,
}

impl FileFormat {
    /// The kind with its defaults.
    pub(crate) fn plain(kind: Kind) -> Self {
        FileFormat {
            kind,
            options: BTreeMap::new(),
        }
    }

    fn table_options(&self) -> Result<TableOptions> {
        let mut options = TableOptions::new();
        options.set_config_format(match self.kind {
            Kind::Parquet => ConfigFileType::PARQUET,
            Kind::Csv => ConfigFileType::CSV,
            Kind::Json => ConfigFileType::JSON,
            // It has no options that a writer would heed.
            Kind::Arrow => return Ok(options),
        });
        let set: HashMap<_, _> = self.options.clone().into_iter().collect();
        options.alter_with_string_hash_map(&set)?;
        Ok(options)
    }

    /// Checks options before anything is written.
    ///
    /// # Errors
    /// Names the option that is unknown, or that no file is written with.
    pub(crate) fn validate(&self, columns: &SchemaRef) -> Result<()> {
        Encoder::new(self, columns).map(drop)
    }
}

/// Turns the rows of one file into bytes, which are taken out as they come.
pub(crate) enum Encoder {
    // These two are the largest by far.
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Arrow(Box<FileWriter<Vec<u8>>>),
    Csv(csv::WriterBuilder, Vec<u8>),
    Json(LineDelimitedWriter<Vec<u8>>),
}

impl Encoder {
    pub(crate) fn new(format: &FileFormat, columns: &SchemaRef) -> Result<Self> {
        let options = format.table_options()?;
        match format.kind {
            Kind::Parquet => {
                let mut parquet = options.parquet;
                parquet.arrow_schema(columns);
                let properties = ParquetWriterOptions::try_from(&parquet)?;
                let properties = properties.writer_options().clone();
                let writer = ArrowWriter::try_new(vec![], Arc::clone(columns), Some(properties))?;
                Ok(Encoder::Parquet(Box::new(writer)))
            }
            Kind::Csv => {
                uncompressed(options.csv.compression)?;
                let written = CsvWriterOptions::try_from(&options.csv)?.writer_options;
                let mut encoder = Encoder::Csv(written, vec![]);
                // The header, also of a file without a row.
                encoder.write(&RecordBatch::new_empty(Arc::clone(columns)))?;
                Ok(encoder)
            }
            Kind::Json => {
                uncompressed(options.json.compression)?;
                Ok(Encoder::Json(LineDelimitedWriter::new(vec![])))
            }
            Kind::Arrow => {
                // Who infers the schema from the beginning of an object expects it right after the magic,
                // which the format pads to eight bytes; the writer's default pads it to 64.
                let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
                let writer = FileWriter::try_new_with_options(vec![], columns, options)?;
                Ok(Encoder::Arrow(Box::new(writer)))
            }
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Encoder::Parquet(writer) => {
                writer.write(batch)?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush()?;
                }
            }
            Encoder::Csv(builder, bytes) => {
                let mut writer = builder.clone().build(&mut *bytes);
                writer.write(batch)?;
                drop(writer);
                *builder = builder.clone().with_header(false);
            }
            Encoder::Json(writer) => writer.write(batch)?,
            Encoder::Arrow(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// The bytes that are ready.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        match self {
            Encoder::Parquet(writer) => take(writer.inner_mut()),
            Encoder::Csv(_, bytes) => take(bytes),
            Encoder::Json(writer) => take(writer.get_mut()),
            Encoder::Arrow(writer) => take(writer.get_mut()),
        }
    }

    /// Memory that holds what is not ready.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Encoder::Parquet(writer) => writer.memory_size(),
            Encoder::Csv(..) | Encoder::Json(_) | Encoder::Arrow(_) => 0,
        }
    }

    /// The rest of the file.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        match self {
            Encoder::Parquet(writer) => Ok(writer.into_inner()?),
            Encoder::Csv(_, bytes) => Ok(bytes),
            Encoder::Json(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner())
            }
            Encoder::Arrow(mut writer) => {
                writer.finish()?;
                let mut bytes = writer.into_inner()?;
                bytes.flush().map_err(DataFusionError::IoError)?;
                Ok(bytes)
            }
        }
    }
}

fn uncompressed(wanted: CompressionTypeVariant) -> Result<()> {
    match wanted {
        CompressionTypeVariant::UNCOMPRESSED => Ok(()),
        other => not_impl_err!(
            "CSV and JSON files are written without compression: leave format.compression '{other}' out, or use PARQUET"
        ),
    }
}
