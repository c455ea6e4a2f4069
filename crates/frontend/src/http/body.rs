//! A result as the body of a response: streamed, and whole if it is small.

use arrow::array::RecordBatch;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use paceline_model::{QueryError, QueryId};

use super::encode::Encoder;
use super::failure::{QUERY_HEADER, query_header};
use super::format::Format;
use crate::metrics::{FrontendMetrics, Protocol};
use crate::pieces::pieces;
use crate::service::ResultStream;

/// About how many bytes of a result, in memory, make a chunk of the response.
const PIECE_BYTES: usize = 256 << 10;

/// The largest result that is sent as one piece.
const BEGIN_BYTES: usize = 64 << 10;

/// The response that carries a result.
///
/// # Errors
/// Why there is none, if that shows before its first byte.
pub(super) async fn respond(
    query: QueryId,
    format: Format,
    result: ResultStream,
    metrics: FrontendMetrics,
) -> Result<Response, QueryError> {
    let encoder = Encoder::new(format, result.schema)?;
    let mut chunks = encode(encoder, result.batches, metrics).boxed();
    let mut response = Response::new(begin(&mut chunks).await?.body(chunks));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static(format.media_type());
    headers.insert(header::CONTENT_TYPE, media_type);
    if let Some(query) = query_header(query) {
        headers.insert(QUERY_HEADER, query);
    }
    Ok(response)
}

/// What there was of a result by the time its response began.
enum Begun {
    Whole(Vec<u8>),
    Part(Vec<u8>),
}

/// Takes what is there without waiting, once there is anything. A small result is whole then and
/// leaves as one piece of known length; and a failure so early still has a code to be told with.
async fn begin(
    chunks: &mut BoxStream<'static, Result<Bytes, QueryError>>,
) -> Result<Begun, QueryError> {
    let mut begun = Vec::new();
    let mut next = chunks.try_next().await?;
    while let Some(chunk) = next {
        begun.extend_from_slice(&chunk);
        if begun.len() >= BEGIN_BYTES {
            return Ok(Begun::Part(begun));
        }
        match chunks.try_next().now_or_never() {
            Some(ready) => next = ready?,
            None => return Ok(Begun::Part(begun)),
        }
    }
    Ok(Begun::Whole(begun))
}

impl Begun {
    fn body(self, rest: BoxStream<'static, Result<Bytes, QueryError>>) -> Body {
        match self {
            Begun::Whole(bytes) => Body::from(bytes),
            Begun::Part(bytes) => {
                let begun = stream::once(async { Ok(bytes.into()) });
                Body::from_stream(begun.chain(rest))
            }
        }
    }
}

/// The result's chunks, none of them empty.
fn encode(
    encoder: Encoder,
    batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
    metrics: FrontendMetrics,
) -> impl Stream<Item = Result<Bytes, QueryError>> + Send + 'static {
    let pieces = batches
        .map_ok(|batch| stream::iter(pieces(batch, PIECE_BYTES)).map(Ok))
        .try_flatten()
        .boxed();
    let writing = Writing {
        encoder,
        pieces,
        metrics,
    };
    stream::try_unfold(Some(writing), |writing| async {
        match writing {
            Some(writing) => writing.next().await.map(Some),
            None => Ok(None),
        }
    })
    .try_filter(|chunk| std::future::ready(!chunk.is_empty()))
}

struct Writing {
    encoder: Encoder,
    pieces: BoxStream<'static, Result<RecordBatch, QueryError>>,
    metrics: FrontendMetrics,
}

impl Writing {
    /// The next chunk, and what goes on after it: nothing after the last one.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), QueryError> {
        match self.pieces.try_next().await? {
            Some(piece) => {
                let chunk = self.encoder.write(&piece)?;
                self.metrics.sent_rows(Protocol::Http, piece.num_rows());
                self.metrics.sent_bytes(Protocol::Http, chunk.len());
                Ok((chunk, Some(self)))
            }
            None => {
                let chunk = self.encoder.finish()?;
                self.metrics.sent_bytes(Protocol::Http, chunk.len());
                Ok((chunk, None))
            }
        }
    }
}
