//! Plans as bytes. DataFusion encodes most of its own operators; this adds the two ends of a stage
//! and those that it leaves out.

use std::sync::Arc;

use datafusion::common::{
    DataFusionError, Result, internal_datafusion_err, not_impl_datafusion_err,
};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::WindowUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalPlanNode};
use paceline_model::{MOST_PARTITIONS, PartitionRange};
use parking_lot::Mutex;
use prost::Message;

use crate::arrow_streams::as_streams;
use crate::catalog::{schema_from_ipc, schema_to_ipc};
use crate::exchange_read::ExchangeReadExec;
use crate::exchange_wire::Read;
use crate::exchange_write::{ExchangeWriteExec, Sink};
use crate::file_scans::FileScan;
use crate::recursion;
use crate::scan_order::led_by_sorts;
use crate::stage_converter::StageConverter;
use crate::windows;
use crate::write_files::WriteFilesExec;
use crate::write_wire::WriteFiles;

/// Encodes a plan.
pub(crate) fn encode(plan: Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
    windows::check(&plan)?;
    let codec = StageCodec::default();
    let converter = converter();
    match physical_plan_to_bytes_with_proto_converter(plan, &codec, &converter) {
        Ok(bytes) => Ok(bytes.to_vec()),
        // DataFusion makes an internal error of it, with the whole plan in its message.
        Err(error) => Err(codec.refused.into_inner().unwrap_or(error)),
    }
}

/// Encodes a plan; its text is that of the plan that will be decoded.
pub(crate) fn encode_with_text(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
) -> Result<(Vec<u8>, String)> {
    let text = |plan: &dyn ExecutionPlan| {
        DisplayableExecutionPlan::new(plan)
            .indent(false)
            .to_string()
    };
    if !reshaped(&plan) {
        let written = text(plan.as_ref());
        return Ok((encode(plan)?, written));
    }
    let bytes = encode(plan)?;
    // Made only here: it has a copy of the names of all functions, which is much for a small plan.
    let context = state.task_ctx();
    let decoded = decode(&bytes, &context)?;
    let decoded = led_by_sorts(decoded, context.session_config().options())?;
    Ok((bytes, text(decoded.as_ref())))
}

/// Whether decoding may add a projection (because encoding forgets that a cast may be null) or lose
/// an ordering (that of a series). Neither changes a row.
fn reshaped(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<UnionExec>()
        || plan.is::<InterleaveExec>()
        || plan.is::<RecursiveQueryExec>()
        || plan.is::<LazyMemoryExec>()
        || plan.children().into_iter().any(reshaped)
}

/// Decodes a plan; functions and object stores are those of `context`.
pub(crate) fn decode(bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
    physical_plan_from_bytes_with_proto_converter(
        bytes,
        context,
        &StageCodec::default(),
        &converter(),
    )
}

fn converter() -> StageConverter {
    let kind = Kind::StreamScan(StreamScan {});
    let node = Node { kind: Some(kind) };
    StageConverter::new(node.encode_to_vec())
}

/// A node that says how the scan below it is read.
pub(crate) fn file_scan(scan: FileScan) -> Vec<u8> {
    let kind = Some(Kind::FileScan(scan));
    Node { kind }.encode_to_vec()
}

/// A node whose bytes have a plan in them.
pub(crate) fn apart(plan: &PhysicalPlanNode) -> Vec<u8> {
    let plan = plan.encode_to_vec();
    let kind = Kind::Apart(Apart { plan });
    Node { kind: Some(kind) }.encode_to_vec()
}

#[derive(Debug, Default)]
struct StageCodec {
    /// Why a plan could not be encoded.
    refused: Mutex<Option<DataFusionError>>,
}

/// The wire form of the operators that DataFusion does not encode.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Read(Read),
    #[prost(message, tag = "2")]
    Write(Write),
    #[prost(message, tag = "3")]
    Recursive(Recursive),
    #[prost(message, tag = "4")]
    WorkTable(WorkTable),
    #[prost(message, tag = "5")]
    StreamScan(StreamScan),
    #[prost(message, tag = "6")]
    WriteFiles(WriteFiles),
    #[prost(message, tag = "7")]
    Apart(Apart),
    #[prost(message, tag = "8")]
    FileScan(FileScan),
}

#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(message, repeated, tag = "1")]
    hash: Vec<PhysicalExprNode>,
    /// 0 for a forward exchange.
    #[prost(uint32, tag = "2")]
    partitions: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Recursive {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    schema: Vec<u8>,
    #[prost(bool, tag = "3")]
    distinct: bool,
}

#[derive(Clone, PartialEq, Message)]
struct WorkTable {
    #[prost(string, tag = "1")]
    name: String,
    /// Of the columns that are left.
    #[prost(bytes = "vec", tag = "2")]
    schema: Vec<u8>,
}

/// What is below it is to be read as Arrow streams.
#[derive(Clone, PartialEq, Message)]
struct StreamScan {}

/// Partitions as a plan names them: room is made for each.
pub(crate) fn checked_range(first: u32, count: u32) -> Result<PartitionRange> {
    PartitionRange::try_new(first, count).ok_or_else(|| {
        internal_datafusion_err!(
            "a plan names {count} partitions from {first} on, and no exchange has more than \
             {MOST_PARTITIONS}"
        )
    })
}

/// A plan that is encoded apart from what is above it.
#[derive(Clone, PartialEq, Message)]
struct Apart {
    #[prost(bytes = "vec", tag = "1")]
    plan: Vec<u8>,
}

/// Decodes an operator of ours whose inputs are decoded already.
pub(crate) fn operator(
    buf: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    context: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let node = Node::decode(buf)
        .map_err(|e| internal_datafusion_err!("not an operator of a stage: {e}"))?;
    match (node.kind, inputs) {
        (Some(Kind::Read(read)), []) => {
            let schema = read.schema()?;
            let decode =
                |node: &PhysicalExprNode| converter.proto_to_physical_expr(node, &schema, context);
            Ok(Arc::new(read.into_operator(&decode, Arc::clone(&schema))?))
        }
        (Some(Kind::Write(write)), [input]) => {
            let schema = input.schema();
            let decode =
                |node: &PhysicalExprNode| converter.proto_to_physical_expr(node, &schema, context);
            let sink = match write.partitions {
                0 => Sink::Forward,
                partitions => Sink::Hash {
                    exprs: write.hash.iter().map(decode).collect::<Result<_>>()?,
                    partitions: checked_range(0, partitions)?.count,
                },
            };
            Ok(Arc::new(ExchangeWriteExec::new(Arc::clone(input), sink)))
        }
        (Some(Kind::Recursive(query)), [static_term, recursive_term]) => {
            Ok(Arc::new(recursion::assemble(
                query.name,
                schema_from_ipc(&query.schema)?,
                Arc::clone(static_term),
                Arc::clone(recursive_term),
                query.distinct,
            )?))
        }
        (Some(Kind::StreamScan(_)), [input]) => as_streams(input),
        (Some(Kind::FileScan(scan)), [input]) => scan.restore(input),
        (Some(Kind::Apart(apart)), []) => {
            let plan = PhysicalPlanNode::decode(apart.plan.as_slice())
                .map_err(|e| internal_datafusion_err!("not a part of a plan: {e}"))?;
            converter.proto_to_execution_plan(&plan, context)
        }
        (Some(Kind::WriteFiles(files)), [input]) => {
            Ok(Arc::new(files.into_operator(Arc::clone(input))?))
        }
        (Some(Kind::WorkTable(rows)), []) => {
            let schema = schema_from_ipc(&rows.schema)?;
            Ok(Arc::new(WorkTableExec::new(rows.name, schema, None)?))
        }
        _ => Err(internal_datafusion_err!(
            "an operator of a stage has {} inputs",
            inputs.len()
        )),
    }
}

impl PhysicalExtensionCodec for StageCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let context = PhysicalPlanDecodeContext::new(context, self);
        operator(buf, inputs, &context, converter)
    }

    fn try_encode(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let encode = |expr: &Arc<dyn PhysicalExpr>| converter.physical_expr_to_proto(expr, self);
        let kind = if let Some(read) = plan.downcast_ref::<ExchangeReadExec>() {
            Kind::Read(Read::from_operator(read, &encode)?)
        } else if let Some(write) = plan.downcast_ref::<ExchangeWriteExec>() {
            Kind::Write(match write.sink() {
                Sink::Forward => Write::default(),
                Sink::Hash { exprs, partitions } => Write {
                    hash: exprs.iter().map(encode).collect::<Result<_>>()?,
                    partitions: *partitions,
                },
            })
        } else if let Some(files) = plan.downcast_ref::<WriteFilesExec>() {
            Kind::WriteFiles(WriteFiles::from_operator(files))
        } else if let Some(query) = plan.downcast_ref::<RecursiveQueryExec>() {
            recursion::check(query).map_err(|error| self.refuse(error))?;
            Kind::Recursive(Recursive {
                name: query.name().to_string(),
                schema: schema_to_ipc(&plan.schema()),
                distinct: query.is_distinct(),
            })
        } else if let Some(rows) = plan.downcast_ref::<WorkTableExec>() {
            Kind::WorkTable(WorkTable {
                name: rows.name().to_string(),
                schema: schema_to_ipc(&rows.schema()),
            })
        } else {
            let name = plan.name();
            let error = not_impl_datafusion_err!("{name} cannot be sent to an executor");
            return Err(self.refuse(error));
        };
        Node { kind: Some(kind) }
            .encode(buf)
            .map_err(|e| DataFusionError::External(Box::new(e)))
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        windows::decode_function(name, buf)
    }

    fn try_encode_udwf(&self, function: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        windows::encode_function(function, buf);
        Ok(())
    }
}

impl StageCodec {
    fn refuse(&self, error: DataFusionError) -> DataFusionError {
        let copy = not_impl_datafusion_err!("{}", error.strip_backtrace());
        self.refused.lock().get_or_insert(error);
        copy
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    #[test]
    fn a_plan_that_divides_into_more_than_any_exchange_has_is_refused() {
        let write = Write {
            hash: vec![],
            partitions: u32::MAX,
        };
        let node = Node {
            kind: Some(Kind::Write(write)),
        };
        let input: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let (task, codec) = (TaskContext::default(), StageCodec::default());
        let context = PhysicalPlanDecodeContext::new(&task, &codec);
        let decoded = operator(&node.encode_to_vec(), &[input], &context, &converter());
        let text = decoded.unwrap_err().to_string();
        assert!(text.contains("4294967295 partitions"), "{text}");
    }
}
