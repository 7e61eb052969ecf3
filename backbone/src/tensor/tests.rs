//! Storage and tape by themselves: what Miri runs over.

use super::*;

fn tensor(values: &[f32]) -> Tensor {
    Tensor::from_vec(&Cpu::default(), values.to_vec(), [values.len()]).unwrap()
}

/// `factor · x`, recorded by hand.
fn scaled(graph: &mut Graph<Cpu>, x: &Tensor, factor: f32) -> Result<Tensor> {
    let y = x.view().iter().map(|x| factor * x).collect();
    graph.record(x.device(), y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| grads.add(&x, dy.iter().map(|dy| factor * dy).collect())
    })
}

#[test]
fn clones_share_storage_until_one_is_written() {
    let mut a = tensor(&[1.0, 2.0, 3.0]);
    let b = a.clone();
    assert!(std::ptr::eq(a.view(), b.view()));
    a.view_mut()[1] = 9.0;
    assert_eq!((a.to_vec(), b.to_vec()), (vec![1.0, 9.0, 3.0], vec![1.0, 2.0, 3.0]));
    let address = a.view().as_ptr();
    a.view_mut()[2] = 8.0;
    assert!(std::ptr::eq(a.view().as_ptr(), address), "alone: in place");
    let flat = a.reshape([3, 1]).unwrap();
    drop(a);
    assert_eq!(flat.to_vec(), [1.0, 9.0, 8.0]);
    let mut empty = tensor(&[]);
    assert!(empty.view().is_empty() && empty.view_mut().is_empty());
}

#[test]
fn the_tape_runs_backwards_and_gradients_add_up() {
    let x = tensor(&[1.0, -2.0]).parameter().unwrap();
    let mut graph = Graph::recording();
    let y = scaled(&mut graph, &x, 3.0).unwrap();
    let z = scaled(&mut graph, &y, 5.0).unwrap();
    let sum: Vec<f32> = y.view().iter().zip(z.view()).map(|(y, z)| y + z).collect();
    let sum = graph
        .record(&Cpu::default(), sum, [2], &[&y, &z], || {
            let (y, z) = (y.clone(), z.clone());
            move |dy: Vec<f32>, grads: &mut Grads<'_, Cpu>| {
                grads.add(&y, dy.clone())?;
                grads.add(&z, dy)
            }
        })
        .unwrap();
    let mut gradients = graph.backward_from(&sum, vec![1.0, 10.0]).unwrap();
    assert_eq!(gradients.take_host(&x).unwrap().unwrap(), [18.0, 180.0]);
    assert!(gradients.take(&x).unwrap().is_none(), "it was taken");
    assert!(gradients.take(&tensor(&[1.0])).unwrap().is_none(), "a constant has none");
}

#[test]
fn an_error_on_the_tape_is_the_one_that_comes_back() {
    let x = tensor(&[1.0]).parameter().unwrap();
    let mut graph = Graph::recording();
    let y = graph
        .record(&Cpu::default(), vec![1.0], [1], &[&x], || {
            |_, _: &mut Grads<'_, Cpu>| Err(Error::config("my op", "has no gradient"))
        })
        .unwrap();
    let error = graph.backward(&y).err().unwrap();
    assert_eq!(error.to_string(), "my op: has no gradient");
}
