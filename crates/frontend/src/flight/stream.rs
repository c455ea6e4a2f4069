//! A result as a stream of Flight messages.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
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

/// The schema of the stream that [`FlightSql::send`] makes: dictionaries are sent as plain values,
/// since few clients read them well.
pub(super) fn sent_schema(schema: SchemaRef) -> SchemaRef {
    if !schema
        .fields()
        .iter()
        .any(|f| has_dictionary(f.data_type()))
    {
        return schema;
    }
    let nothing = stream::empty::<Result<_, FlightError>>();
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(Arc::clone(&schema))
        .build(nothing);
    encoder.known_schema().unwrap_or(schema)
}

fn has_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, _) => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_dictionary(f.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, f)| has_dictionary(f.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => has_dictionary(field.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn dictionaries_are_announced_as_plain_values() {
        let words = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
        let list = |inner| DataType::List(Arc::new(Field::new("item", inner, true)));
        let schema = |inner: DataType| {
            Arc::new(Schema::new(vec![
                Field::new("a", inner.clone(), true),
                Field::new("b", list(inner), true),
            ]))
        };
        assert_eq!(sent_schema(schema(words)), schema(DataType::Utf8));
        let plain = schema(DataType::Utf8View);
        assert!(Arc::ptr_eq(&sent_schema(Arc::clone(&plain)), &plain));
    }
}
