//! Results for people and for programs.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::ArrayWriter;
use arrow::util::pretty::pretty_format_batches_with_schema;
use clap::ValueEnum;

/// What a result is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table, and how many rows it has.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// An array of objects.
    Json,
}

pub(super) fn write(
    format: Format,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    out: &mut impl Write,
) -> Result<(), ArrowError> {
    match format {
        Format::Table => table(schema, batches, out),
        Format::Csv => csv(schema, batches, out),
        Format::Json => json(batches, out),
    }
}

fn table(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    out: &mut impl Write,
) -> Result<(), ArrowError> {
    if schema.fields().is_empty() {
        return Ok(writeln!(out, "done")?);
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let table = pretty_format_batches_with_schema(schema.clone(), batches)?;
    writeln!(out, "{table}")?;
    let plural = if rows == 1 { "" } else { "s" };
    Ok(writeln!(out, "{rows} row{plural}")?)
}

fn csv(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    out: &mut impl Write,
) -> Result<(), ArrowError> {
    let mut writer = WriterBuilder::new().with_header(true).build(&mut *out);
    // The header comes with the first batch, and an empty result has columns as well.
    writer.write(&RecordBatch::new_empty(schema.clone()))?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(())
}

fn json(batches: &[RecordBatch], out: &mut impl Write) -> Result<(), ArrowError> {
    let mut writer = ArrayWriter::new(&mut *out);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(writeln!(out)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn written(format: Format, rows: &[i64]) -> String {
        let column = Arc::new(Int64Array::from(rows.to_vec()));
        let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        let mut out = Vec::new();
        write(format, &batch.schema(), &[batch], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_shows_rows_and_columns() {
        assert_eq!(written(Format::Csv, &[1, 2]), "n\n1\n2\n");
        assert_eq!(written(Format::Csv, &[]), "n\n");
        assert_eq!(written(Format::Json, &[1]), "[{\"n\":1}]\n");
        assert_eq!(written(Format::Json, &[]), "[]\n");
        assert!(written(Format::Table, &[7]).contains("| 7 |"));
        assert!(written(Format::Table, &[7]).ends_with("\n1 row\n"));
        assert!(written(Format::Table, &[]).ends_with("\n0 rows\n"));
    }
}
