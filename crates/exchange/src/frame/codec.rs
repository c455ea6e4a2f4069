//! Batches to bytes and back.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message,
};
use arrow::ipc::{MessageHeader, MetadataVersion, root_as_message};
use bytes::Bytes;

use crate::options::Compression;

/// The widest type of Arrow's needs no more; more would only pad small frames.
const ALIGNMENT: usize = 16;

/// A frame as it goes to disk or to another process.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) rows: u32,
    pub(crate) crc32: u32,
}

/// Encodes and decodes the frames of one schema.
#[derive(Debug)]
pub(crate) struct FrameCodec {
    schema: SchemaRef,
    /// The schema with the ids that dictionary messages refer to; none without dictionaries.
    numbered: Option<SchemaRef>,
    dictionaries: usize,
    options: IpcWriteOptions,
    /// As `options`, without compression.
    plain: IpcWriteOptions,
}

/// Whether a frame is compressed as its codec says, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Compressed,
    Plain,
}

impl FrameCodec {
    pub(crate) fn new(schema: SchemaRef, compression: Compression) -> Result<Self, ArrowError> {
        let plain = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
        let options = plain.clone().try_with_compression(compression.codec())?;
        let mut codec = FrameCodec {
            numbered: None,
            dictionaries: 0,
            options,
            plain,
            schema,
        };
        if has_dictionary(codec.schema.fields().iter().map(AsRef::as_ref)) {
            codec.number_dictionaries()?;
        }
        Ok(codec)
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    // Arrow gives dictionaries their ids while it encodes a schema; so that both sides agree on
    // them without sending it, each encodes it for itself.
    fn number_dictionaries(&mut self) -> Result<(), ArrowError> {
        let mut tracker = DictionaryTracker::new(false);
        let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &self.schema,
            &mut tracker,
            &self.options,
        );
        let message = root_as_message(&encoded.ipc_message)
            .map_err(|e| ArrowError::IpcError(e.to_string()))?;
        let schema = message
            .header_as_schema()
            .ok_or_else(|| ArrowError::IpcError("a schema was not encoded as one".to_string()))?;
        self.numbered = Some(Arc::new(fb_to_schema(schema)));
        self.dictionaries = tracker.dict_id().len();
        Ok(())
    }

    pub(crate) fn encode(
        &self,
        batch: &RecordBatch,
        packing: Packing,
        context: &mut IpcWriteContext,
    ) -> Result<Encoded, ArrowError> {
        let options = match packing {
            Packing::Compressed => &self.options,
            Packing::Plain => &self.plain,
        };
        let mut tracker = DictionaryTracker::new(false);
        for _ in 0..self.dictionaries {
            tracker.next_dict_id();
        }
        let (dictionaries, message) =
            IpcDataGenerator::default().encode(batch, &mut tracker, options, context)?;
        let mut bytes =
            Vec::with_capacity(message.ipc_message.len() + message.arrow_data.len() + 64);
        for part in dictionaries.into_iter().chain([message]) {
            write_message(&mut bytes, part, options)?;
        }
        Ok(Encoded {
            rows: u32::try_from(batch.num_rows()).map_err(|_| {
                ArrowError::InvalidArgumentError(format!("{} rows in one frame", batch.num_rows()))
            })?,
            crc32: crc32fast::hash(&bytes),
            bytes: Bytes::from(bytes),
        })
    }

    /// Reads a frame. What is not compressed is not copied either if the frame is aligned, and copied
    /// once if it is not.
    pub(crate) fn decode(&self, bytes: Bytes) -> Result<RecordBatch, ArrowError> {
        // Arrow asserts where a length or offset makes no sense. The checksum rules out damage, so
        // only a peer that lies gets here; it must not take the process down either.
        catch_unwind(AssertUnwindSafe(|| self.decode_messages(bytes)))
            .unwrap_or_else(|_| Err(invalid("lengths that make no sense")))
    }

    fn decode_messages(&self, bytes: Bytes) -> Result<RecordBatch, ArrowError> {
        let buffer = Buffer::from(bytes);
        let wire = self.numbered.as_ref().unwrap_or(&self.schema);
        let mut dictionaries: HashMap<i64, ArrayRef> = HashMap::new();
        let mut at = 0;
        loop {
            let (header, body_at) = message_header(&buffer, at)?;
            let message = root_as_message(header).map_err(|e| invalid(&e.to_string()))?;
            let length = usize::try_from(message.bodyLength())
                .ok()
                .filter(|length| *length <= buffer.len().saturating_sub(body_at))
                .ok_or_else(|| invalid("a body that is cut short"))?;
            let body = buffer.slice_with_length(body_at, length);
            let version = message.version();
            match message.header_type() {
                MessageHeader::DictionaryBatch => {
                    let batch = message
                        .header_as_dictionary_batch()
                        .ok_or_else(|| invalid("no dictionary"))?;
                    read_dictionary(&body, batch, wire, &mut dictionaries, &version)?;
                    at = body_at + length;
                }
                MessageHeader::RecordBatch => {
                    let batch = message
                        .header_as_record_batch()
                        .ok_or_else(|| invalid("no record batch"))?;
                    let body = match batch.compression() {
                        Some(_) => body,
                        None => aligned(body),
                    };
                    let batch = read_record_batch(
                        &body,
                        batch,
                        Arc::clone(wire),
                        &dictionaries,
                        None,
                        &version,
                    )?;
                    return with_schema(batch, &self.schema);
                }
                other => return Err(invalid(&format!("a message of kind {other:?}"))),
            }
        }
    }
}

/// The same bytes where columns can lie in them as they are. Arrow would copy the columns that are not
/// aligned, one by one, while those that need no alignment (the bytes of strings) keep all of the
/// frame from being freed: it would be there twice. Frames that a connection brings begin anywhere.
fn aligned(body: Buffer) -> Buffer {
    if (body.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
        return body;
    }
    Buffer::from(body.as_slice())
}

/// The flatbuffer that begins at `at` with its prefix, and where its body begins.
fn message_header(buffer: &Buffer, at: usize) -> Result<(&[u8], usize), ArrowError> {
    let rest = buffer.as_slice().get(at..).unwrap_or_default();
    let (marker, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| invalid("no message"))?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| invalid("no message"))?;
    if *marker != [0xff; 4] {
        return Err(invalid("no continuation marker"));
    }
    let length = u32::from_le_bytes(*length) as usize;
    let header = rest
        .get(..length)
        .ok_or_else(|| invalid("a header that is cut short"))?;
    Ok((header, at + 8 + length))
}

fn invalid(what: &str) -> ArrowError {
    ArrowError::IpcError(format!("the frame has {what}"))
}

fn has_dictionary<'a>(mut fields: impl Iterator<Item = &'a Field>) -> bool {
    fields.any(|field| contains_dictionary(field.data_type()))
}

fn contains_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, _) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => contains_dictionary(field.data_type()),
        DataType::Struct(fields) => has_dictionary(fields.iter().map(AsRef::as_ref)),
        DataType::Union(fields, _) => has_dictionary(fields.iter().map(|(_, f)| f.as_ref())),
        DataType::RunEndEncoded(_, values) => contains_dictionary(values.data_type()),
        _ => false,
    }
}

/// The same rows under another schema of the same types.
pub(crate) fn with_schema(
    batch: RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    if Arc::ptr_eq(batch.schema_ref(), schema) {
        return Ok(batch);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let (_, columns, _) = batch.into_parts();
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::measure::retained_by;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Schema;

    fn numbers_and_names(rows: i64) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("number", DataType::Int64, false),
            Field::new("name", DataType::Utf8, false),
        ]);
        let numbers = Int64Array::from_iter_values(0..rows);
        let names = StringArray::from_iter_values((0..rows).map(|n| format!("name {n}")));
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(names)];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    #[test]
    fn a_frame_is_in_memory_once_wherever_it_begins() {
        let batch = numbers_and_names(10_000);
        let codec = FrameCodec::new(batch.schema(), Compression::None).unwrap();
        let mut context = IpcWriteContext::default();
        let encoded = codec.encode(&batch, Packing::Plain, &mut context).unwrap();
        for begin in 0..ALIGNMENT {
            let mut arrived = vec![0; begin];
            arrived.extend_from_slice(&encoded.bytes);
            let arrived = Bytes::from(arrived).slice(begin..);
            let length = arrived.len() as u64;
            let decoded = codec.decode(arrived).unwrap();
            assert_eq!(decoded, batch);
            let data: Vec<_> = decoded.columns().iter().map(|c| c.to_data()).collect();
            let retained = retained_by(&data);
            assert!(
                retained <= length + 128,
                "{retained} bytes are kept of {length} that began at {begin}"
            );
        }
    }
}
