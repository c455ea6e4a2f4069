//! A result that is kept: read whole or by page, any number of times.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream, StreamExt};
use paceline_model::{ErrorClass, QueryError};

use crate::service::ResultStream;

type Batches = BoxStream<'static, Result<RecordBatch, QueryError>>;

/// A result that lies somewhere durable, in pages.
///
/// Nothing is read before a page is asked for.
#[derive(Clone)]
pub struct StoredResult {
    /// The columns.
    pub schema: SchemaRef,
    /// How many pages there are; none if there are no rows.
    pub pages: u64,
    /// How many rows there are.
    pub rows: u64,
    read: Arc<dyn Fn(Range<u64>) -> Batches + Send + Sync>,
}

impl StoredResult {
    /// A result whose pages `read` streams: for a range of them, all their rows in order. It is
    /// never called with pages that are not there.
    pub fn new(
        schema: SchemaRef,
        pages: u64,
        rows: u64,
        read: impl Fn(Range<u64>) -> Batches + Send + Sync + 'static,
    ) -> Self {
        StoredResult {
            schema,
            pages,
            rows,
            read: Arc::new(read),
        }
    }

    /// One page, counted from 0. The first one can always be read; without rows it is empty.
    ///
    /// # Errors
    /// [`NotFound`](ErrorClass::NotFound) if there is no such page.
    pub fn page(&self, page: u64) -> Result<ResultStream, QueryError> {
        if page >= self.pages.max(1) {
            let message = format!(
                "the result has no page {page}: there are {}, and they are counted from 0",
                self.pages.max(1)
            );
            return Err(QueryError::new(ErrorClass::NotFound, message));
        }
        Ok(self.stream(page..page + 1))
    }

    /// All pages, one after the other.
    pub fn all(&self) -> ResultStream {
        self.stream(0..self.pages)
    }

    fn stream(&self, pages: Range<u64>) -> ResultStream {
        let pages = pages.start..pages.end.min(self.pages);
        let batches = match pages.is_empty() {
            true => stream::empty().boxed(),
            false => (self.read)(pages),
        };
        ResultStream {
            schema: Arc::clone(&self.schema),
            batches,
        }
    }
}

impl fmt::Debug for StoredResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredResult")
            .field("schema", &self.schema)
            .field("pages", &self.pages)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt64Array;
    use futures::TryStreamExt;

    use super::*;

    /// Each page has one row, its own number.
    fn of_pages(pages: u64) -> StoredResult {
        let batch = |page: u64| {
            let column = Arc::new(UInt64Array::from(vec![page]));
            RecordBatch::try_from_iter([("page", column as _)]).unwrap()
        };
        let schema = batch(0).schema();
        StoredResult::new(schema, pages, pages, move |range| {
            assert!(range.end <= pages && !range.is_empty(), "{range:?}");
            stream::iter(range.map(move |page| Ok(batch(page)))).boxed()
        })
    }

    async fn rows(stream: ResultStream) -> Vec<u64> {
        let batches: Vec<_> = stream.batches.try_collect().await.unwrap();
        let column = |batch: &RecordBatch| batch.column(0).as_any().downcast_ref().cloned();
        let columns = batches.iter().filter_map(column);
        columns
            .flat_map(|c: UInt64Array| c.values().to_vec())
            .collect()
    }

    #[tokio::test]
    async fn pages_are_read_one_by_one_or_all() {
        let result = of_pages(3);
        assert_eq!(rows(result.all()).await, [0, 1, 2]);
        for page in 0..3 {
            assert_eq!(rows(result.page(page).unwrap()).await, [page]);
        }
        for page in [3, u64::MAX] {
            let error = result.page(page).unwrap_err();
            assert_eq!(error.class, ErrorClass::NotFound);
            assert!(error.message.contains(&page.to_string()), "{error}");
        }
    }

    #[tokio::test]
    async fn without_rows_there_is_one_empty_page() {
        let result = of_pages(0);
        assert!(rows(result.all()).await.is_empty());
        assert!(rows(result.page(0).unwrap()).await.is_empty());
        assert!(result.page(1).is_err());
    }
}
