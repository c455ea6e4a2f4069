//! Batches in the format that a client wants, chunk by chunk.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter, WriterBuilder};
use bytes::Bytes;
use paceline_model::{ErrorClass, QueryError};

use super::format::Format;
use super::parquet_file::ParquetFile;

/// Writes one result.
pub(super) struct Encoder {
    schema: SchemaRef,
    state: State,
}

enum State {
    Json(JsonWriter<Vec<u8>, JsonArray>),
    JsonLines(JsonWriter<Vec<u8>, LineDelimited>),
    Csv { header_due: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ParquetFile>),
}

impl Encoder {
    /// # Errors
    /// Unsupported, if the format cannot hold a result of that schema.
    pub(super) fn new(format: Format, schema: SchemaRef) -> Result<Self, QueryError> {
        if matches!(format, Format::Json | Format::JsonLines) {
            distinct_names(&schema)?;
        }
        let state = match format {
            Format::Json => State::Json(json_options().build(Vec::new())),
            Format::JsonLines => State::JsonLines(json_options().build(Vec::new())),
            Format::Csv => State::Csv { header_due: true },
            Format::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), &schema);
                State::Arrow(Box::new(writer.map_err(unwritable)?))
            }
            Format::Parquet => {
                let file = ParquetFile::begin(Arc::clone(&schema));
                State::Parquet(Box::new(file.map_err(unwritable)?))
            }
        };
        Ok(Encoder { schema, state })
    }

    /// The next rows. What comes out may be nothing yet.
    ///
    /// # Errors
    /// Unsupported, if the format cannot hold them.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, QueryError> {
        self.try_write(batch).map_err(unwritable)
    }

    fn try_write(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        let bytes = match &mut self.state {
            State::Json(writer) => {
                writer.write(batch)?;
                std::mem::take(writer.get_mut())
            }
            State::JsonLines(writer) => {
                writer.write(batch)?;
                std::mem::take(writer.get_mut())
            }
            State::Csv { header_due } => {
                let header = std::mem::take(header_due);
                let mut bytes = Vec::new();
                csv::WriterBuilder::new()
                    .with_header(header)
                    .build(&mut bytes)
                    .write(batch)?;
                bytes
            }
            State::Arrow(writer) => {
                writer.write(batch)?;
                std::mem::take(writer.get_mut())
            }
            State::Parquet(file) => file.write(batch)?,
        };
        Ok(bytes.into())
    }

    /// What is left to say once all rows are written. A result without rows is a whole document
    /// too: an empty array, a line of column names, a schema.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) fn finish(&mut self) -> Result<Bytes, QueryError> {
        if let State::Csv { header_due: true } = self.state {
            return self.write(&RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        self.try_finish().map_err(unwritable)
    }

    fn try_finish(&mut self) -> Result<Bytes, ArrowError> {
        let bytes = match &mut self.state {
            State::Json(writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
            State::JsonLines(writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
            State::Csv { .. } => Vec::new(),
            State::Arrow(writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
            State::Parquet(file) => file.finish()?,
        };
        Ok(bytes.into())
    }
}

/// Every object has every column, so that a null can be told from a column that is not there.
fn json_options() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

/// An object has one value for each name; whoever reads two would drop one.
fn distinct_names(schema: &Schema) -> Result<(), QueryError> {
    let mut names = HashSet::new();
    for field in schema.fields() {
        let name = field.name();
        if !names.insert(name) {
            let message = format!(
                "two columns of the result are called '{name}', and an object of JSON cannot hold both: \
                 name one of them otherwise with AS, or accept text/csv or \
                 application/vnd.apache.arrow.stream"
            );
            return Err(QueryError::new(ErrorClass::Unsupported, message));
        }
    }
    Ok(())
}

fn unwritable(error: ArrowError) -> QueryError {
    let message = format!(
        "the result cannot be written in this format: {error}; cast the column to text, or accept \
         application/vnd.apache.arrow.stream"
    );
    QueryError::new(ErrorClass::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    fn batch(numbers: Vec<Option<i64>>, words: Vec<Option<&str>>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from(numbers)) as _, true),
            ("w", Arc::new(StringArray::from(words)) as _, true),
        ])
        .unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
        let schema = batch(vec![], vec![]).schema();
        let mut encoder = Encoder::new(format, schema).unwrap();
        let mut bytes = Vec::new();
        for batch in batches {
            bytes.extend(encoder.write(batch).unwrap());
        }
        bytes.extend(encoder.finish().unwrap());
        bytes
    }

    fn two() -> [RecordBatch; 3] {
        [
            batch(vec![Some(1), None], vec![Some("a,\"b\""), Some("")]),
            batch(vec![], vec![]),
            batch(vec![Some(3)], vec![None]),
        ]
    }

    fn text(format: Format, batches: &[RecordBatch]) -> String {
        String::from_utf8(written(format, batches)).unwrap()
    }

    #[test]
    fn rows_are_written_across_batches() {
        assert_eq!(
            text(Format::Json, &two()),
            r#"[{"n":1,"w":"a,\"b\""},{"n":null,"w":""},{"n":3,"w":null}]"#
        );
        assert_eq!(
            text(Format::JsonLines, &two()),
            "{\"n\":1,\"w\":\"a,\\\"b\\\"\"}\n{\"n\":null,\"w\":\"\"}\n{\"n\":3,\"w\":null}\n"
        );
        // In CSV a text that is empty is none.
        assert_eq!(text(Format::Csv, &two()), "n,w\n1,\"a,\"\"b\"\"\"\n,\n3,\n");
        let bytes = written(Format::Arrow, &two());
        let rows: usize = StreamReader::try_new(&*bytes, None)
            .unwrap()
            .map(|batch| batch.unwrap().num_rows())
            .sum();
        assert_eq!(rows, 3);
    }

    #[test]
    fn a_result_without_rows_is_a_whole_document() {
        assert_eq!(text(Format::Json, &[]), "[]");
        assert_eq!(text(Format::JsonLines, &[]), "");
        assert_eq!(text(Format::Csv, &[]), "n,w\n");
        let bytes = written(Format::Arrow, &[]);
        let reader = StreamReader::try_new(&*bytes, None).unwrap();
        assert_eq!(reader.schema().fields().len(), 2);
        assert_eq!(reader.count(), 0);
    }

    #[test]
    fn what_a_format_cannot_hold_is_said() {
        let inner = Arc::new(Field::new("x", DataType::Int64, true));
        let column = StructArray::from(vec![(
            Arc::clone(&inner),
            Arc::new(Int64Array::from(vec![1])) as Arc<dyn Array>,
        )]);
        let schema = Schema::new(vec![Field::new("s", column.data_type().clone(), false)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap();
        let mut encoder = Encoder::new(Format::Csv, batch.schema()).unwrap();
        let error = encoder.write(&batch).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unsupported);
    }

    #[test]
    fn objects_have_no_name_twice() {
        let id = Field::new("id", DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![id.clone(), id]));
        for format in [Format::Json, Format::JsonLines] {
            let refused = Encoder::new(format, Arc::clone(&schema)).err().unwrap();
            assert_eq!(refused.class, ErrorClass::Unsupported);
            assert!(refused.message.contains("'id'"), "{refused}");
        }
        for format in [Format::Csv, Format::Arrow] {
            assert!(Encoder::new(format, Arc::clone(&schema)).is_ok());
        }
    }
}
