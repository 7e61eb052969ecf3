use super::*;
use crate::Cpu;

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

#[test]
fn twenty_updates_match_a_plain_f64_loop() {
    let count = 40_013;
    let dev = Cpu::default();
    let config = AdamWConfig { betas: [0.9, 0.98], eps: 1e-6 };
    let start = values(count, 1);
    let mut parameter = Tensor::from_vec(&dev, start.clone(), [count]).unwrap();
    let mut moments = Moments::zeros(&parameter).unwrap();
    let mut exact: Vec<[f64; 3]> = start.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
    for step in 1..=20 {
        let gradient = values(count, 1 + step as usize);
        let update = Update { step, lr: 1e-2 / step as f64, weight_decay: 0.1, gradient_scale: 0.25 };
        adamw(&mut parameter, &gradient[..], &mut moments, &config, &update).unwrap();
        for ([p, m, v], g) in exact.iter_mut().zip(&gradient) {
            let g = f64::from(*g) * 0.25;
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.98 * *v + 0.02 * g * g;
            let (m_hat, v_hat) =
                (*m / (1.0 - 0.9f64.powi(step as i32)), *v / (1.0 - 0.98f64.powi(step as i32)));
            *p -= update.lr * 0.1 * *p;
            *p -= update.lr * m_hat / (v_hat.sqrt() + 1e-6);
        }
    }
    for (found, [p, ..]) in parameter.to_vec().iter().zip(&exact) {
        assert!((f64::from(*found) - p).abs() < 2e-6, "{found} is not {p}");
    }
}

#[test]
fn a_clone_keeps_its_values_and_the_gradient_key_stays() {
    let dev = Cpu::default();
    let mut parameter = Tensor::from_vec(&dev, vec![1.0; 5], [5]).unwrap().parameter().unwrap();
    let before = parameter.clone();
    let mut moments = Moments::zeros(&parameter).unwrap();
    let update = Update { step: 1, lr: 0.5, weight_decay: 0.0, gradient_scale: 1.0 };
    adamw(&mut parameter, &[1.0; 5][..], &mut moments, &AdamWConfig::default(), &update).unwrap();
    assert_eq!(before.to_vec(), [1.0; 5]);
    assert!(parameter.wants_gradient() && parameter.to_vec().iter().all(|p| (p - 0.5).abs() < 1e-6));
}

#[test]
fn what_does_not_fit_is_refused() {
    let dev = Cpu::default();
    let mut parameter = Tensor::from_vec(&dev, vec![1.0; 5], [5]).unwrap();
    let mut moments = Moments::zeros(&parameter).unwrap();
    let config = AdamWConfig::default();
    let update = Update { step: 1, lr: 0.5, weight_decay: 0.0, gradient_scale: 1.0 };
    let short = adamw(&mut parameter, &[1.0; 4][..], &mut moments, &config, &update).unwrap_err();
    assert!(short.to_string().contains("gradient of 4 values for 5"), "{short}");
    let first = Update { step: 0, ..update };
    assert!(adamw(&mut parameter, &[1.0; 5][..], &mut moments, &config, &first).is_err());
    moments.second = Tensor::zeros(&dev, [4]).unwrap();
    assert!(adamw(&mut parameter, &[1.0; 5][..], &mut moments, &config, &update).is_err());
    assert_eq!(parameter.to_vec(), [1.0; 5]);
}

#[test]
fn sums_of_squares_and_averages() {
    let dev = Cpu::default();
    let x = values(50_021, 3);
    let exact: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
    assert!((dev.sum_of_squares(&x).unwrap() - exact).abs() < 1e-9 * exact);
    let tensor = Tensor::from_vec(&dev, x.clone(), [x.len()]).unwrap();
    let mut average = Tensor::zeros(&dev, [x.len()]).unwrap();
    for _ in 0..3 {
        moving_average(&mut average, &tensor, 0.9).unwrap();
    }
    let share = 1.0 - 0.9f64.powi(3);
    for (found, x) in average.to_vec().iter().zip(&x) {
        assert!((f64::from(*found) - share * f64::from(*x)).abs() < 1e-6);
    }
}
