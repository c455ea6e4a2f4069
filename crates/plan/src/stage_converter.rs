//! How DataFusion's own encoding and ours call each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion_proto::physical_plan::from_proto::parse_physical_expr_with_converter;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_expr_node::ExprType;
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{
    PhysicalExprNode, PhysicalExtensionExprNode, PhysicalExtensionNode, PhysicalPlanNode,
};
use prost::Message;

use crate::arrow_streams::as_files;
use crate::codec::{apart, file_scan, operator};
use crate::exchange_write::ExchangeWriteExec;
use crate::file_scans::FileScan;
use crate::write_files::WriteFilesExec;

/// So many levels of a plan and its expressions are encoded as messages within each other. Whoever
/// decodes a message takes it for an attack if a hundred are, and each level is up to four.
const LEVELS: usize = 10;

/// Encodes and decodes as DataFusion does, with five differences: scans of streams become the scan
/// of files that DataFusion would make of them, inside a node whose bytes are `stream_scan`; scans of
/// text files are inside a node that says what their own encoding leaves out; what is
/// directly below an operator of ours is asked for too; our operators learn the values of
/// scalar subqueries that their expressions use; and what is many levels deep is encoded by itself,
/// and its bytes are what the level above has.
pub(crate) struct StageConverter {
    stream_scan: Vec<u8>,
    /// Levels that are being encoded.
    levels: AtomicUsize,
}

impl StageConverter {
    pub(crate) fn new(stream_scan: Vec<u8>) -> Self {
        StageConverter {
            stream_scan,
            levels: AtomicUsize::new(0),
        }
    }

    /// Encodes one level; with it comes back whether it is to be apart from what is above it.
    fn level<T>(&self, encode: impl FnOnce() -> Result<T>) -> Result<(T, bool)> {
        let above = self.levels.fetch_add(1, Ordering::Relaxed);
        let encoded = encode();
        self.levels.fetch_sub(1, Ordering::Relaxed);
        Ok((encoded?, above > 0 && above.is_multiple_of(LEVELS)))
    }

    fn encode_plan(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalPlanNode> {
        let encode = |plan: &Arc<dyn ExecutionPlan>| {
            PhysicalPlanNode::try_from_physical_plan_with_converter(Arc::clone(plan), codec, self)
        };
        if let Some(files) = as_files(plan)? {
            return Ok(extension(self.stream_scan.clone(), vec![encode(&files)?]));
        }
        if let Some((scan, files)) = FileScan::of(plan) {
            return Ok(extension(file_scan(scan), vec![encode(&files)?]));
        }
        if !is_ours(plan) {
            return encode(plan);
        }
        let mut node = Vec::new();
        codec.try_encode(Arc::clone(plan), &mut node, self)?;
        let inputs = plan.children().into_iter();
        let inputs = inputs.map(|input| self.execution_plan_to_proto(input, codec));
        Ok(extension(node, inputs.collect::<Result<_>>()?))
    }
}

impl PhysicalProtoConverterExtension for StageConverter {
    fn proto_to_execution_plan(
        &self,
        proto: &PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(PhysicalPlanType::Extension(ours)) = &proto.physical_plan_type else {
            return proto.try_into_physical_plan_with_context(context, self);
        };
        // DataFusion would ask the codec, and not tell it which subqueries are above.
        let inputs = ours.inputs.iter();
        let inputs: Vec<_> = inputs
            .map(|input| self.proto_to_execution_plan(input, context))
            .collect::<Result<_>>()?;
        operator(&ours.node, &inputs, context, self)
    }

    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalPlanNode> {
        let (node, is_apart) = self.level(|| self.encode_plan(plan, codec))?;
        Ok(if is_apart {
            extension(apart(&node), vec![])
        } else {
            node
        })
    }

    fn proto_to_physical_expr(
        &self,
        proto: &PhysicalExprNode,
        input_schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(ExprType::Extension(apart)) = &proto.expr_type else {
            return parse_physical_expr_with_converter(proto, input_schema, context, self);
        };
        let expr = PhysicalExprNode::decode(apart.expr.as_slice())
            .map_err(|e| internal_datafusion_err!("not a part of an expression: {e}"))?;
        self.proto_to_physical_expr(&expr, input_schema, context)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalExprNode> {
        let encode = || serialize_physical_expr_with_converter(expr, codec, self);
        let (node, is_apart) = self.level(encode)?;
        if !is_apart {
            return Ok(node);
        }
        let apart = PhysicalExtensionExprNode {
            expr: node.encode_to_vec(),
            inputs: vec![],
        };
        Ok(PhysicalExprNode {
            expr_id: None,
            expr_type: Some(ExprType::Extension(apart)),
        })
    }
}

fn is_ours(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ExchangeWriteExec>() || plan.is::<RecursiveQueryExec>() || plan.is::<WriteFilesExec>()
}

fn extension(node: Vec<u8>, inputs: Vec<PhysicalPlanNode>) -> PhysicalPlanNode {
    let node = PhysicalExtensionNode { node, inputs };
    PhysicalPlanNode {
        physical_plan_type: Some(PhysicalPlanType::Extension(node)),
    }
}
