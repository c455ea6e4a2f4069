//! How DataFusion's own encoding and ours call each other.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion_proto::physical_plan::from_proto::parse_physical_expr_with_converter;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalExtensionNode, PhysicalPlanNode};

use crate::arrow_streams::as_files;
use crate::codec::operator;
use crate::exchange_write::ExchangeWriteExec;
use crate::write_files::WriteFilesExec;

/// Encodes and decodes as DataFusion does, with three differences: scans of streams become the scan
/// of files that DataFusion would make of them, inside a node whose bytes are `stream_scan`; what is
/// directly below an operator of ours is asked for too; and our operators learn the values of
/// scalar subqueries that their expressions use.
pub(crate) struct StageConverter {
    pub(crate) stream_scan: Vec<u8>,
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
        let encode = |plan: &Arc<dyn ExecutionPlan>| {
            PhysicalPlanNode::try_from_physical_plan_with_converter(Arc::clone(plan), codec, self)
        };
        if let Some(files) = as_files(plan)? {
            return Ok(extension(self.stream_scan.clone(), vec![encode(&files)?]));
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

    fn proto_to_physical_expr(
        &self,
        proto: &PhysicalExprNode,
        input_schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        parse_physical_expr_with_converter(proto, input_schema, context, self)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalExprNode> {
        serialize_physical_expr_with_converter(expr, codec, self)
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
