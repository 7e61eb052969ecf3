//! A graph under construction: operators are added in the order in which they run, and each gives the name of its result.

use std::collections::BTreeSet;

use super::proto::{
    self, Attribute, Dimension, ElementType, Model, Node, OperatorSet, Property, Shape, Tensor, TensorType,
    Type, ValueInfo,
};

/// The operators' version. 18 is the first in which a resize can filter as Pillow does.
const OPSET: i64 = 18;
/// The messages' version that goes with it.
const IR_VERSION: i64 = 8;

/// What a node gives, or a constant, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// An optional input that is left out.
    pub fn none() -> Self {
        Self(String::new())
    }
}

/// An axis of an input or output.
#[derive(Debug, Clone, Copy)]
pub enum Axis<'a> {
    /// Of this extent.
    Fixed(usize),
    /// Known when the network runs.
    Named(&'a str),
}

/// Collects nodes and constants.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: proto::Graph,
    constants: BTreeSet<String>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: proto::Graph { name: name.to_owned(), ..proto::Graph::default() }, ..Self::default() }
    }

    /// An input of the network.
    pub fn input(&mut self, name: &str, kind: ElementType, axes: &[Axis], meaning: &str) -> Value {
        self.graph.input.push(info(name, kind, axes, meaning));
        Value(name.to_owned())
    }

    /// Makes `value` an output of the network under `name`.
    pub fn output(&mut self, value: &Value, name: &str, kind: ElementType, axes: &[Axis], meaning: &str) {
        self.push("Identity", &[value], vec![name.to_owned()], Vec::new());
        self.graph.output.push(info(name, kind, axes, meaning));
    }

    /// An operator with one output.
    pub fn node(&mut self, op: &str, inputs: &[&Value], attributes: Vec<Attribute>) -> Value {
        let [value] = self.split(op, inputs, attributes);
        value
    }

    /// An operator with several outputs.
    pub fn split<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: Vec<Attribute>,
    ) -> [Value; N] {
        let at = self.graph.node.len();
        let names: Vec<String> = (0..N).map(|i| format!("{op}_{at}_{i}")).collect();
        self.push(op, inputs, names.clone(), attributes);
        std::array::from_fn(|i| Value(names[i].clone()))
    }

    fn push(&mut self, op: &str, inputs: &[&Value], output: Vec<String>, attribute: Vec<Attribute>) {
        let name = format!("{op}_{}", self.graph.node.len());
        let input = inputs.iter().map(|value| value.0.clone()).collect();
        self.graph.node.push(Node { input, output, name, op_type: op.to_owned(), attribute });
    }

    /// The constant `name`; made by `data` the first time.
    pub fn floats(&mut self, name: &str, shape: &[usize], data: impl FnOnce() -> Vec<f32>) -> Value {
        self.constant(name, ElementType::Float, shape, || {
            data().iter().flat_map(|value| value.to_le_bytes()).collect()
        })
    }

    /// A number of no axis.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.floats(&format!("scalar_{value:e}"), &[], || vec![value])
    }

    /// A list of whole numbers.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.constant(&format!("ints_{}", words.join("_")), ElementType::Int64, &[values.len()], || {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        })
    }

    /// A whole number of no axis.
    pub fn int(&mut self, value: i64) -> Value {
        self.constant(&format!("int_{value}"), ElementType::Int64, &[], || value.to_le_bytes().to_vec())
    }

    fn constant(
        &mut self,
        name: &str,
        kind: ElementType,
        shape: &[usize],
        data: impl FnOnce() -> Vec<u8>,
    ) -> Value {
        if self.constants.insert(name.to_owned()) {
            let dims = shape.iter().map(|extent| *extent as i64).collect();
            let (data_type, name) = (kind as i32, name.to_owned());
            self.graph.initializer.push(Tensor { dims, data_type, name, raw_data: data() });
        }
        Value(name.to_owned())
    }

    /// `x` in another shape; 0 keeps an extent, -1 is what is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, &shape], Vec::new())
    }

    /// `x` with its axes in this order.
    pub fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[x], vec![Attribute::ints("perm", order)])
    }

    /// A part of one axis; `end` may be past it.
    pub fn slice(&mut self, x: &Value, axis: i64, start: i64, end: i64) -> Value {
        let [start, end, axis] = [start, end, axis].map(|value| self.ints(&[value]));
        self.node("Slice", &[x, &start, &end, &axis], Vec::new())
    }

    /// Everything along one axis.
    pub fn concat(&mut self, parts: &[Value], axis: i64) -> Value {
        self.node("Concat", &parts.iter().collect::<Vec<_>>(), vec![Attribute::int("axis", axis)])
    }

    /// The entry `index` of an axis, which goes.
    pub fn pick(&mut self, x: &Value, axis: i64, index: i64) -> Value {
        let index = self.int(index);
        self.gather(x, &index, axis)
    }

    /// The entries `indices` of an axis.
    pub fn gather(&mut self, x: &Value, indices: &Value, axis: i64) -> Value {
        self.node("Gather", &[x, indices], vec![Attribute::int("axis", axis)])
    }

    /// Elementwise, or a matrix product: any operator of two inputs without settings.
    pub fn binary(&mut self, op: &str, a: &Value, b: &Value) -> Value {
        self.node(op, &[a, b], Vec::new())
    }

    /// Any operator of one input without settings.
    pub fn unary(&mut self, op: &str, x: &Value) -> Value {
        self.node(op, &[x], Vec::new())
    }

    /// The other number type.
    pub fn cast(&mut self, x: &Value, to: ElementType) -> Value {
        self.node("Cast", &[x], vec![Attribute::int("to", to as i64)])
    }

    /// The file, with `metadata` beside the graph.
    pub fn finish(self, description: &str, metadata: Vec<(String, String)>) -> Model {
        Model {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: description.to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: metadata.into_iter().map(|(key, value)| Property { key, value }).collect(),
        }
    }
}

fn info(name: &str, kind: ElementType, axes: &[Axis], meaning: &str) -> ValueInfo {
    let dim = axes.iter().map(|axis| match axis {
        Axis::Fixed(extent) => Dimension { value: Some(*extent as i64), name: None },
        Axis::Named(name) => Dimension { value: None, name: Some((*name).to_owned()) },
    });
    let shape = Shape { dim: dim.collect() };
    let tensor_type = TensorType { elem_type: kind as i32, shape: Some(shape) };
    ValueInfo {
        name: name.to_owned(),
        r#type: Some(Type { tensor_type: Some(tensor_type) }),
        doc_string: meaning.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn constants_are_stored_once_and_a_file_reads_back() {
        let mut graph = GraphBuilder::new("test");
        let x = graph.input("x", ElementType::Float, &[Axis::Named("batch"), Axis::Fixed(2)], "numbers");
        let two = graph.scalar(2.0);
        let y = graph.binary("Mul", &x, &two);
        let again = graph.scalar(2.0);
        assert_eq!(two, again);
        let y = graph.reshape(&y, &[0, 1, 2]);
        graph.output(
            &y,
            "y",
            ElementType::Float,
            &[Axis::Named("batch"), Axis::Fixed(1), Axis::Fixed(2)],
            "",
        );
        let model = graph.finish("doubles", vec![("classes".into(), "[]".into())]);
        let read = Model::decode(&model.encode_to_vec()[..]).unwrap();
        assert_eq!(read, model);
        let graph = read.graph.unwrap();
        assert_eq!(graph.initializer.len(), 2);
        let ops: Vec<&str> = graph.node.iter().map(|node| &node.op_type[..]).collect();
        assert_eq!(ops, ["Mul", "Reshape", "Identity"]);
        assert_eq!(graph.initializer[0].raw_data, 2f32.to_le_bytes());
    }
}
