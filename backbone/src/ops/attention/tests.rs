use super::*;
use crate::Cpu;
use crate::ops::check::Case;

#[test]
fn matches_plain_loops() {
    for (batch, tokens, heads, head_dim) in [(2, 5, 2, 3), (1, 70, 1, 4), (1, 1, 3, 2)] {
        let geometry = Geometry { batch, tokens, heads, head_dim };
        Case::new().input([batch, tokens, 3 * heads * head_dim], -2.0..2.0).gradients_match(
            |graph, t| attention(graph, &t[0], heads, None),
            |t| reference::forward(&t[0], None, geometry),
            1e-5,
        );
    }
}

#[test]
fn relative_positions_match_plain_loops() {
    for grid in [Size::new(3, 4), Size::new(9, 8)] {
        let geometry = Geometry { batch: 1, tokens: grid.area(), heads: 2, head_dim: 2 };
        Case::new()
            .input([1, geometry.tokens, 12], -1.0..1.0)
            .input([2 * grid.height - 1, 2], -1.0..1.0)
            .input([2 * grid.width - 1, 2], -1.0..1.0)
            .gradients_match(
                |graph, t| {
                    let relative = RelativePositions { height: t[1].clone(), width: t[2].clone(), grid };
                    attention(graph, &t[0], 2, Some(&relative))
                },
                |t| reference::forward(&t[0], Some((&t[1], &t[2], (grid.height, grid.width))), geometry),
                1e-5,
            );
    }
}

#[test]
fn wrong_shapes_are_named() {
    let dev = Cpu::default();
    let qkv = Tensor::zeros(&dev, [1, 4, 12]).unwrap();
    let error = attention(&mut Graph::inference(), &qkv, 5, None).unwrap_err();
    assert!(error.to_string().contains("5 heads"), "{error}");
    let table = Tensor::zeros(&dev, [3, 2]).unwrap();
    let relative = RelativePositions { height: table.clone(), width: table, grid: Size::new(2, 3) };
    let error = attention(&mut Graph::inference(), &qkv, 2, Some(&relative)).unwrap_err();
    assert!(error.to_string().contains("2x3"), "{error}");
}
