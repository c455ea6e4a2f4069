//! Whatever is written is read, through memory, disk and TCP, with every compression.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int8Array, Int32Array,
    Int64Array, LargeStringArray, ListArray, MapBuilder, NullArray, RecordBatch,
    RecordBatchOptions, StringArray, StringBuilder, StringViewArray, StructArray,
    TimestampNanosecondArray, UInt16Array, UInt32Array, new_empty_array, types::Int8Type,
    types::Int32Type,
};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef, i256};
use futures::TryStreamExt;
use paceline_exchange::{Compression, Divider, Which};
use paceline_model::{ByteSize, PartitionRange};

use crate::support::{Holder, STAGE, output, query, reader_of, within};

const ROWS: i32 = 1000;

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let some = |i: i32| (i % 7 != 0).then_some(i);
    let text = |i: i32| format!("value {i} that is longer than a view can hold by itself");
    let words: Vec<_> = (0..ROWS).map(|i| some(i).map(text)).collect();
    let strings = StringArray::from(words.clone());
    let lists = (0..ROWS).map(|i| some(i).map(|i| (0..i % 5).map(Some).collect::<Vec<_>>()));
    let mut map = MapBuilder::new(
        None,
        StringBuilder::new(),
        arrow::array::Int32Builder::new(),
    );
    for i in 0..ROWS {
        map.keys().append_value(format!("k{i}"));
        map.values().append_option(some(i));
        map.append(i % 3 != 0).unwrap();
    }
    let dictionary: DictionaryArray<Int8Type> = (0..ROWS)
        .map(|i| some(i).map(|i| ["a", "b", "c"][i as usize % 3]))
        .collect();
    let dictionary = Arc::new(dictionary);
    let structs = StructArray::from(vec![
        (
            Arc::new(Field::new("d", dictionary.data_type().clone(), true)),
            Arc::clone(&dictionary) as ArrayRef,
        ),
        (
            Arc::new(Field::new("v", arrow::datatypes::DataType::Utf8View, true)),
            Arc::new(StringViewArray::from_iter(
                words.iter().map(Option::as_deref),
            )) as ArrayRef,
        ),
    ]);
    let decimals = (0..ROWS).map(|i| some(i).map(|i| i128::from(i) * 10_i128.pow(20)));
    let wide = (0..ROWS).map(|i| some(i).map(|i| i256::from_i128(i128::from(i))));
    vec![
        (
            "bool",
            Arc::new(BooleanArray::from_iter(
                (0..ROWS).map(|i| some(i).map(|i| i > 9)),
            )),
        ),
        (
            "i8",
            Arc::new(Int8Array::from_iter(
                (0..ROWS).map(|i| some(i).map(|i| i as i8)),
            )),
        ),
        (
            "i64",
            Arc::new(Int64Array::from_iter(
                (0..ROWS).map(|i| some(i).map(i64::from)),
            )),
        ),
        (
            "u16",
            Arc::new(UInt16Array::from_iter(
                (0..ROWS).map(|i| some(i).map(|i| i as u16)),
            )),
        ),
        (
            "f64",
            Arc::new(Float64Array::from_iter(
                (0..ROWS).map(|i| some(i).map(f64::from)),
            )),
        ),
        (
            "date",
            Arc::new(Date32Array::from_iter((0..ROWS).map(some))),
        ),
        (
            "ts",
            Arc::new(
                TimestampNanosecondArray::from_iter((0..ROWS).map(|i| some(i).map(i64::from)))
                    .with_timezone("Europe/Berlin"),
            ),
        ),
        (
            "d128",
            Arc::new(
                Decimal128Array::from_iter(decimals)
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
            ),
        ),
        (
            "d256",
            Arc::new(
                Decimal256Array::from_iter(wide)
                    .with_precision_and_scale(50, 2)
                    .unwrap(),
            ),
        ),
        ("utf8", Arc::new(strings)),
        ("large", Arc::new(LargeStringArray::from(words.clone()))),
        (
            "view",
            Arc::new(StringViewArray::from_iter(
                words.iter().map(Option::as_deref),
            )),
        ),
        (
            "binview",
            Arc::new(BinaryViewArray::from_iter(
                words.iter().map(|w| w.as_ref().map(|w| w.as_bytes())),
            )),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter((0..ROWS).map(|i| i.to_be_bytes())).unwrap(),
            ),
        ),
        ("null", Arc::new(NullArray::new(ROWS as usize))),
        ("dict", dictionary),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ),
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(structs)),
    ]
}

fn all_types() -> RecordBatch {
    let fields = columns()
        .into_iter()
        .map(|(n, c)| Field::new(n, c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns().into_iter().map(|(_, c)| c).collect()).unwrap()
}

async fn through(holder: &Holder, schema: SchemaRef, written: &[RecordBatch]) -> RecordBatch {
    let id = output(query(), 0);
    let range = PartitionRange::new(0, 1);
    let writer = holder.store.create(id, Arc::clone(&schema), range).unwrap();
    for batch in written {
        writer.write(0, batch.clone()).await.unwrap();
    }
    let summary = writer.finish().await.unwrap();
    let rows: usize = written.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(summary.rows, rows as u64);
    let at = vec![holder.location(id, range)];
    let reader = reader_of(Arc::clone(&schema), id.query, at, range, 8 << 20);
    let stream = reader.read(STAGE, Which::Partition(0)).unwrap();
    let read: Vec<RecordBatch> = within(stream.try_collect()).await.unwrap();
    holder.store.release(&id);
    concat_batches(&schema, &read).unwrap()
}

async fn every_holder() -> Vec<Holder> {
    let mut holders = Vec::new();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for memory in [64 << 20, 0] {
            let holder = Holder::start_with("h", |options| {
                options.compression = compression;
                options.memory_limit = ByteSize(memory);
                options.attempt_buffer = ByteSize(64 << 10);
            });
            holders.push(holder.await);
        }
    }
    holders
}

#[tokio::test]
async fn every_type_arrives_as_it_was_written() {
    let whole = all_types();
    // Whole, in slices that begin anywhere, in tiny bits that get joined, and empty.
    let slices = [(0, 100), (100, 3), (103, 0), (103, 497), (600, 400)];
    let slices = slices.map(|(offset, length)| whole.slice(offset, length));
    let bits: Vec<_> = (0..ROWS as usize).map(|i| whole.slice(i, 1)).collect();
    for holder in every_holder().await {
        for written in [&[whole.clone()][..], &slices, &bits] {
            let read = through(&holder, whole.schema(), written).await;
            assert_eq!(read.num_rows(), whole.num_rows());
            for (column, name) in whole.schema().fields().iter().enumerate() {
                assert_eq!(read.column(column), whole.column(column), "{name}");
            }
        }
    }
}

/// Each type by itself, as some are gathered from several batches and others are not.
#[test]
fn every_type_is_divided_as_it_is() {
    let partition = |row: usize| (row * 7 % 5 % 3) as u32;
    for (name, column) in columns() {
        let whole = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
        let mut divider = Divider::new(whole.schema(), 3);
        let mut pieces = Vec::new();
        for (offset, length) in [(0, 100), (100, 3), (103, 497), (600, 400)] {
            let to: Vec<u32> = (offset..offset + length).map(partition).collect();
            pieces.extend(divider.add(whole.slice(offset, length), &to).unwrap());
        }
        pieces.extend(divider.finish());
        let pieces: Vec<(u32, RecordBatch)> = pieces.into_iter().map(Result::unwrap).collect();
        for p in 0..3 {
            let divided = pieces.iter().filter(|(partition, _)| *partition == p);
            let divided: Vec<_> = divided.map(|(_, rows)| rows.clone()).collect();
            let divided = concat_batches(&whole.schema(), &divided).unwrap();
            let rows = (0..ROWS as usize).filter(|row| partition(*row) == p);
            let rows = UInt32Array::from_iter_values(rows.map(|row| row as u32));
            let expected = take(whole.column(0), &rows, None).unwrap();
            assert_eq!(divided.column(0), &expected, "{name}");
        }
    }
}

#[tokio::test]
async fn readers_on_the_same_machine_are_sent_plain_frames() {
    let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; ROWS as usize]));
    let batch = RecordBatch::try_from_iter([("zeros", zeros)]).unwrap();
    let mut sent = Vec::new();
    for nearby in [false, true] {
        let holder = Holder::start_with("h", |options| options.compress_nearby = nearby).await;
        let read = through(&holder, batch.schema(), std::slice::from_ref(&batch)).await;
        assert_eq!(read, batch);
        sent.push(holder.metric("paceline_exchange_served_bytes_total", "remote"));
    }
    assert!(sent[0] > 8 * ROWS as u64, "{sent:?}");
    assert!(sent[1] < 2 * ROWS as u64, "{sent:?}");
}

#[tokio::test]
async fn rows_without_columns_are_counted() {
    let schema = Arc::new(Schema::empty());
    let rows = |count| {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
    };
    let written = [rows(3), rows(8192), rows(0), rows(100_000_000), rows(17)];
    for holder in every_holder().await {
        let read = through(&holder, Arc::clone(&schema), &written).await;
        assert_eq!(read.num_rows(), 100_008_212);
    }
}

#[tokio::test]
async fn an_output_without_rows_has_none() {
    let schema = all_types().schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| new_empty_array(field.data_type()));
    let empty = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    for holder in every_holder().await {
        assert_eq!(
            through(&holder, Arc::clone(&schema), &[]).await.num_rows(),
            0
        );
        let read = through(&holder, Arc::clone(&schema), std::slice::from_ref(&empty)).await;
        assert_eq!(read.num_rows(), 0);
    }
}

#[tokio::test]
async fn dictionaries_that_do_not_fit_together_stay_apart() {
    // 100 values each: any two exceed what 8-bit keys can tell apart.
    let part = |from: i32| {
        let values: Vec<_> = (from..from + 100).map(|i| format!("value {i}")).collect();
        let dictionary: DictionaryArray<Int8Type> =
            values.iter().map(|v| Some(v.as_str())).collect();
        RecordBatch::try_from_iter([("d", Arc::new(dictionary) as ArrayRef)]).unwrap()
    };
    let written: Vec<_> = (0..40).map(|i| part(i * 100)).collect();
    for holder in every_holder().await {
        let id = output(query(), 0);
        let range = PartitionRange::new(0, 1);
        let schema = written[0].schema();
        let writer = holder.store.create(id, Arc::clone(&schema), range).unwrap();
        for batch in &written {
            writer.write(0, batch.clone()).await.unwrap();
        }
        writer.finish().await.unwrap();
        let at = vec![holder.location(id, range)];
        let reader = reader_of(schema, id.query, at, range, 8 << 20);
        let stream = reader.read(STAGE, Which::Whole).unwrap();
        let read: Vec<RecordBatch> = within(stream.try_collect()).await.unwrap();
        let values = read.iter().flat_map(|batch| texts(batch.column(0)));
        let values: Vec<_> = values.collect();
        let expected: Vec<_> = (0..4000).map(|i| format!("value {i}")).collect();
        assert_eq!(values, expected);
    }
}

#[tokio::test]
async fn a_large_dictionary_costs_a_frame_only_what_it_uses() {
    let values = (0..100_000).map(|i| format!("a value of some length, number {i}"));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    // A few rows, and so many that they are more than one frame.
    let few = Int32Array::from(vec![7, 99_999, 7]);
    let many = Int32Array::from_iter_values((0..100_000).rev());
    for (keys, frames, memory) in [(few, 1..=1, 64 << 10), (many, 4..=16, 16 << 20)] {
        let dictionary = DictionaryArray::<Int32Type>::new(keys, Arc::clone(&values));
        let batch = RecordBatch::try_from_iter([("d", Arc::new(dictionary) as ArrayRef)]).unwrap();
        let holder = Holder::start("h").await;
        let id = output(query(), 0);
        let range = PartitionRange::new(0, 1);
        let writer = holder.store.create(id, batch.schema(), range).unwrap();
        writer.write(0, batch.clone()).await.unwrap();
        let held = holder.store.usage().memory_bytes;
        assert!(held < memory, "{held} bytes for {} rows", batch.num_rows());
        writer.finish().await.unwrap();
        let at = vec![holder.location(id, range)];
        let reader = reader_of(batch.schema(), id.query, at, range, 8 << 20);
        let stream = reader.read(STAGE, Which::Whole).unwrap();
        let read: Vec<RecordBatch> = within(stream.try_collect()).await.unwrap();
        assert!(frames.contains(&read.len()), "{} frames", read.len());
        for frame in &read {
            let values = frame.column(0).as_dictionary::<Int32Type>().values();
            assert!(values.len() <= frame.num_rows(), "{} values", values.len());
        }
        let read = read.iter().flat_map(|frame| texts(frame.column(0)));
        assert!(read.eq(texts(batch.column(0))));
    }
}

fn texts(dictionary: &ArrayRef) -> Vec<String> {
    let plain = arrow::compute::cast(dictionary, &arrow::datatypes::DataType::Utf8).unwrap();
    let texts = plain.as_string::<i32>().iter();
    texts.flatten().map(str::to_string).collect()
}

#[tokio::test]
async fn a_batch_of_other_columns_is_refused() {
    let holder = Holder::start("h").await;
    let id = output(query(), 0);
    let writer = holder.writer(id, PartitionRange::new(4, 2));
    let other =
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let error = writer.write(4, other.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("schema"), "{error}");
    let error = writer
        .write(6, crate::support::batch(0..1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("partitions 4..6, not 6"),
        "{error}"
    );
    let error = holder
        .store
        .create(id, crate::support::schema(), PartitionRange::new(0, 1));
    assert!(error.unwrap_err().to_string().contains("exists already"));
}

#[tokio::test]
async fn large_batches_come_in_frames_of_a_sensible_size() {
    let rows = 1_000_000;
    let numbers = Int64Array::from_iter_values(0..rows);
    let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap();
    for holder in every_holder().await {
        let id = output(query(), 0);
        let range = PartitionRange::new(0, 1);
        let writer = holder.store.create(id, batch.schema(), range).unwrap();
        writer.write(0, batch.clone()).await.unwrap();
        writer.finish().await.unwrap();
        let at = vec![holder.location(id, range)];
        let reader = reader_of(batch.schema(), id.query, at, range, 8 << 20);
        let stream = reader.read(STAGE, Which::Partition(0)).unwrap();
        let read: Vec<RecordBatch> = within(stream.try_collect()).await.unwrap();
        assert!((4..=16).contains(&read.len()), "{} frames", read.len());
        let read = concat_batches(&batch.schema(), &read).unwrap();
        let values = read.column(0).as_primitive::<Int64Type>().values();
        assert!(values.iter().copied().eq(0..rows));
    }
}
