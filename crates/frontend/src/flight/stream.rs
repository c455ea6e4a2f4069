//! A result as a stream of Flight messages.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use paceline_model::QueryError;
use tonic::Status;

use super::{FlightSql, bug};
use crate::metrics::{FrontendMetrics, Protocol, RequestTimer};
use crate::pieces::pieces;
use crate::service::ResultStream;
use crate::status::{from_status, to_status};

impl FlightSql {
    /// Sends the result; its request ends when the stream does.
    pub(super) fn send(
        &self,
        result: ResultStream,
        timer: RequestTimer,
    ) -> BoxStream<'static, Result<FlightData, Status>> {
        let metrics = self.metrics.clone();
        let piece = self.options.batch.as_usize();
        let batches = result
            .batches
            .map_ok(move |batch| {
                metrics.sent_rows(Protocol::Flight, batch.num_rows());
                stream::iter(pieces(batch, piece)).map(Ok)
            })
            .try_flatten()
            .map_err(|error: QueryError| FlightError::Tonic(Box::new(to_status(&error))));
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(result.schema)
            // The pieces have the right size; the encoder would measure them wrongly.
            .with_max_flight_data_size(usize::MAX)
            .build(batches);
        let sending = Sending {
            messages,
            timer,
            metrics: self.metrics.clone(),
        };
        stream::unfold(Some(sending), |sending| async { sending?.next().await }).boxed()
    }
}

/// A result that is under way.
struct Sending {
    messages: FlightDataEncoder,
    timer: RequestTimer,
    metrics: FrontendMetrics,
}

type Sent = (Result<FlightData, Status>, Option<Sending>);

impl Sending {
    async fn next(mut self) -> Option<Sent> {
        match self.messages.next().await {
            Some(Ok(message)) => {
                let bytes = message.data_header.len() + message.data_body.len();
                self.metrics.sent_bytes(Protocol::Flight, bytes);
                Some((Ok(message), Some(self)))
            }
            Some(Err(error)) => {
                let status = match error {
                    FlightError::Tonic(status) => *status,
                    other => to_status(&bug(other)),
                };
                self.timer.failed(from_status(&status).class);
                Some((Err(status), None))
            }
            None => {
                self.timer.succeeded();
                None
            }
        }
    }
}

/// The schema of the stream that [`FlightSql::send`] makes, as the encoder has it: dictionaries are sent
/// as plain values, since few clients read them well, and large lists as lists.
pub(super) fn sent_schema(schema: SchemaRef) -> SchemaRef {
    let nothing = stream::empty::<Result<_, FlightError>>();
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(Arc::clone(&schema))
        .build(nothing);
    encoder.known_schema().unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// The schema in the first message of what is sent.
    async fn first_sent(schema: SchemaRef) -> Schema {
        let nothing = stream::empty::<Result<RecordBatch, FlightError>>();
        let messages = FlightDataEncoderBuilder::new().with_schema(schema);
        let mut messages = messages.build(nothing);
        let first = messages.next().await.unwrap().unwrap();
        Schema::try_from(&first).unwrap()
    }

    #[tokio::test]
    async fn what_is_announced_is_what_is_sent() {
        let words = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
        let field = |inner: &DataType| Arc::new(Field::new("item", inner.clone(), true));
        let list = |inner: &DataType| DataType::List(field(inner));
        let large = |inner: &DataType| DataType::LargeList(field(inner));
        let within = |inner: DataType| DataType::Struct(vec![field(&inner)].into());
        for (ours, sent) in [
            (words.clone(), DataType::Utf8),
            (list(&words), list(&DataType::Utf8)),
            (DataType::Utf8View, DataType::Utf8View),
            (large(&DataType::Int64), list(&DataType::Int64)),
            (within(large(&words)), within(list(&DataType::Utf8))),
        ] {
            let schema = |inner: DataType| {
                let column = Field::new("c", inner, true);
                Arc::new(Schema::new(vec![column]))
            };
            let announced = sent_schema(schema(ours.clone()));
            assert_eq!(announced, schema(sent));
            assert_eq!(first_sent(schema(ours)).await, *announced);
        }
    }
}
