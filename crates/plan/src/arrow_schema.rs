//! The schema of an Arrow IPC file in an object store, from the file's footer.
//!
//! DataFusion reads it from the beginning of a file that it is sent in pieces, and expects the first
//! message 8 bytes after the start. In files that are aligned to more, those of DataFusion's own
//! `COPY` among them, it comes later, and DataFusion 55 cannot open them.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::convert::fb_to_schema;
use datafusion::arrow::ipc::reader::read_footer_length;
use datafusion::arrow::ipc::root_as_footer;
use datafusion::common::{DataFusionError, Result};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

/// What a file begins with, and ends with; a stream does neither.
const MAGIC: &[u8; 6] = b"ARROW1";

/// The length of the footer, 4 bytes, and the magic.
const TAIL: u64 = 10;

/// The schema of a file; none of what is no file in that format but may be a stream.
pub(crate) async fn file_schema(
    store: &Arc<dyn ObjectStore>,
    object: &ObjectMeta,
) -> Result<Option<Schema>> {
    let Some(tail_at) = object.size.checked_sub(TAIL) else {
        return Ok(None);
    };
    let ends = [0..MAGIC.len() as u64, tail_at..object.size];
    let read = store.get_ranges(&object.location, &ends).await?;
    let [head, tail] = read.as_slice() else {
        return Ok(None);
    };
    if head.as_ref() != MAGIC {
        return Ok(None);
    }
    let broken = |what: &str| DataFusionError::from(ArrowError::IpcError(what.to_string()));
    let tail = <[u8; TAIL as usize]>::try_from(tail.as_ref())
        .map_err(|_| broken("the file is shorter than it was listed"))?;
    let length = read_footer_length(tail)? as u64;
    let footer_at = tail_at
        .checked_sub(length)
        .ok_or_else(|| broken("the footer would be longer than the file"))?;
    let footer = store
        .get_range(&object.location, footer_at..tail_at)
        .await?;
    let footer = root_as_footer(&footer)
        .map_err(|error| broken(&format!("the footer cannot be read: {error}")))?;
    let schema = footer.schema();
    let schema = schema.ok_or_else(|| broken("the footer has no schema"))?;
    Ok(Some(fb_to_schema(schema)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::arrow::ipc::MetadataVersion;
    use datafusion::arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![Field::new("id", DataType::Int64, true)])
    }

    async fn of(bytes: Vec<u8>) -> Result<Option<Schema>> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("part.arrow");
        store.put(&path, bytes.into()).await.unwrap();
        let object = store.head(&path).await.unwrap();
        file_schema(&store, &object).await
    }

    fn file(alignment: usize) -> Vec<u8> {
        let options = IpcWriteOptions::try_new(alignment, false, MetadataVersion::V5).unwrap();
        let mut writer = FileWriter::try_new_with_options(vec![], &schema(), options).unwrap();
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    #[tokio::test]
    async fn files_have_a_footer_however_they_are_aligned() {
        for alignment in [8, 16, 64] {
            assert_eq!(of(file(alignment)).await.unwrap(), Some(schema()));
        }
    }

    #[tokio::test]
    async fn what_is_no_file_may_be_a_stream() {
        let mut writer = StreamWriter::try_new(vec![], &schema()).unwrap();
        writer.finish().unwrap();
        assert_eq!(of(writer.into_inner().unwrap()).await.unwrap(), None);
        assert_eq!(of(b"short".to_vec()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_without_its_end_is_an_error() {
        let whole = file(64);
        for kept in [whole.len() - 1, 16] {
            assert!(of(whole[..kept].to_vec()).await.is_err(), "{kept}");
        }
        let mut long = whole.clone();
        let at = long.len() - 10;
        long[at..at + 4].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(of(long).await.is_err());
    }
}
