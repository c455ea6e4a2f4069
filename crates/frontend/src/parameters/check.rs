//! What a message of bound values must be before Arrow is given it to read. Arrow trusts messages in
//! places: it would panic on an unknown type, and allocate whatever a compressed buffer claims.

use arrow::ipc::{self, Endianness, MessageHeader, Precision, TimeUnit, root_as_message};
use arrow_flight::FlightData;
use paceline_model::QueryError;

use super::{MAX_BYTES, invalid};

/// No text and no list of bytes is longer; a wider column is no value for a placeholder.
const MAX_WIDTH: i32 = 1 << 20;

/// Checks the schema that comes first and each batch after it.
///
/// # Errors
/// A user error that says what is wrong.
pub(super) fn check(messages: &[FlightData]) -> Result<(), QueryError> {
    let Some((schema, batches)) = messages.split_first() else {
        return Err(invalid("there are none"));
    };
    let layouts = check_schema(schema)?;
    batches
        .iter()
        .try_for_each(|batch| check_batch(batch, &layouts))
}

/// Which buffers a column has in a batch.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// None at all.
    Nulls,
    /// Validity and values.
    Fixed,
    /// Validity, offsets of so many bytes, and values.
    Offsets(u64),
    /// Validity, views, and as many as the batch counts for it.
    Views,
}

/// Returns the layout of each column.
fn check_schema(message: &FlightData) -> Result<Vec<Layout>, QueryError> {
    let header = root_as_message(&message.data_header).map_err(|e| invalid(&e.to_string()))?;
    let schema = header
        .header_as_schema()
        .ok_or_else(|| invalid("they do not begin with a schema"))?;
    if schema.endianness() != Endianness::Little {
        return Err(invalid("they are big-endian; send them little-endian"));
    }
    let fields = schema
        .fields()
        .ok_or_else(|| invalid("their schema has no fields"))?;
    fields.iter().map(|field| check_field(&field)).collect()
}

fn check_field(field: &ipc::Field<'_>) -> Result<Layout, QueryError> {
    if field.dictionary().is_some() || readable(field).is_none() {
        let name = field.name().unwrap_or_default();
        let kind = field.type_type().variant_name().unwrap_or("unknown");
        return Err(invalid(&format!(
            "column '{name}' of type {kind} is no plain value; bind numbers, text, bytes, dates or \
             times"
        )));
    }
    Ok(match field.type_type() {
        ipc::Type::Null => Layout::Nulls,
        ipc::Type::Utf8View | ipc::Type::BinaryView => Layout::Views,
        ipc::Type::Utf8 | ipc::Type::Binary => Layout::Offsets(4),
        ipc::Type::LargeUtf8 | ipc::Type::LargeBinary => Layout::Offsets(8),
        _ => Layout::Fixed,
    })
}

/// Whether Arrow reads the type without tripping: a plain one, with widths and units that exist.
fn readable(field: &ipc::Field<'_>) -> Option<()> {
    let known = match field.type_type() {
        ipc::Type::Null | ipc::Type::Bool => true,
        ipc::Type::Utf8 | ipc::Type::LargeUtf8 | ipc::Type::Utf8View => true,
        ipc::Type::Binary | ipc::Type::LargeBinary | ipc::Type::BinaryView => true,
        ipc::Type::FixedSizeBinary => {
            (0..=MAX_WIDTH).contains(&field.type_as_fixed_size_binary()?.byteWidth())
        }
        ipc::Type::Int => matches!(field.type_as_int()?.bitWidth(), 8 | 16 | 32 | 64),
        ipc::Type::FloatingPoint => matches!(
            field.type_as_floating_point()?.precision(),
            Precision::HALF | Precision::SINGLE | Precision::DOUBLE
        ),
        ipc::Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            matches!(decimal.bitWidth(), 32 | 64 | 128 | 256)
                && (1..=76).contains(&decimal.precision())
                && (-76..=76).contains(&decimal.scale())
        }
        ipc::Type::Date => field.type_as_date()?.unit().variant_name().is_some(),
        ipc::Type::Time => {
            let time = field.type_as_time()?;
            matches!(
                (time.bitWidth(), time.unit()),
                (32, TimeUnit::SECOND | TimeUnit::MILLISECOND)
                    | (64, TimeUnit::MICROSECOND | TimeUnit::NANOSECOND)
            )
        }
        ipc::Type::Timestamp => field.type_as_timestamp()?.unit().variant_name().is_some(),
        ipc::Type::Duration => field.type_as_duration()?.unit().variant_name().is_some(),
        ipc::Type::Interval => field.type_as_interval()?.unit().variant_name().is_some(),
        _ => false,
    };
    known.then_some(())
}

fn check_batch(message: &FlightData, layouts: &[Layout]) -> Result<(), QueryError> {
    let header = root_as_message(&message.data_header).map_err(|e| invalid(&e.to_string()))?;
    if header.header_type() == MessageHeader::DictionaryBatch {
        return Err(invalid("dictionaries cannot be bound; send plain values"));
    }
    let batch = header
        .header_as_record_batch()
        .ok_or_else(|| invalid("a message is no batch"))?;
    if batch.compression().is_some() {
        return Err(invalid("they are compressed; send them uncompressed"));
    }
    let body = message.data_body.len();
    check_buffers(batch, layouts, body)
        .ok_or_else(|| invalid("the buffers of a batch do not fit its columns"))
}

/// Walks columns and buffers as Arrow will: every buffer lies in the body, none is missing, and
/// where there are nulls there is a bit for each row.
fn check_buffers(batch: ipc::RecordBatch<'_>, layouts: &[Layout], body: usize) -> Option<()> {
    let rows = batch.length();
    // No more rows than bits in the largest body. More could only be nulls, which take no space.
    if !(0..=8 * i64::try_from(MAX_BYTES).ok()?).contains(&rows) {
        return None;
    }
    let mut nodes = batch.nodes().into_iter().flatten();
    let mut buffers = batch.buffers().into_iter().flatten();
    let mut counts = batch.variadicBufferCounts().into_iter().flatten();
    for layout in layouts {
        let node = nodes.next()?;
        if node.length() != rows || !(0..=rows).contains(&node.null_count()) {
            return None;
        }
        // How many bytes an item of the buffer after the validity has, and how many buffers follow.
        let (width, more) = match layout {
            Layout::Nulls => continue,
            Layout::Fixed => (1, 0),
            Layout::Offsets(width) => (*width, 1),
            Layout::Views => (16, usize::try_from(counts.next()?).ok()?),
        };
        let validity = length_inside(buffers.next()?, body)?;
        if node.null_count() > 0 && validity < rows.unsigned_abs().div_ceil(8) {
            return None;
        }
        if length_inside(buffers.next()?, body)? % width != 0 {
            return None;
        }
        // The count is a client's: this ends with the buffers there are, however large it is.
        for _ in 0..more {
            length_inside(buffers.next()?, body)?;
        }
    }
    let all_taken = nodes.next().is_none() && buffers.next().is_none() && counts.next().is_none();
    all_taken.then_some(())
}

/// The buffer's length, if it lies within the body.
fn length_inside(buffer: &ipc::Buffer, body: usize) -> Option<u64> {
    let start = u64::try_from(buffer.offset()).ok()?;
    let length = u64::try_from(buffer.length()).ok()?;
    let end = start.checked_add(length)?;
    (end <= body as u64).then_some(length)
}
