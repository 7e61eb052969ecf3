use super::*;
use crate::Cpu;
use crate::ops::watch::place;

/// A watch under which gradients are multiplied by `scale`.
fn watch(scale: f32) -> [f32; place::LEN] {
    let mut watch = [0.0; place::LEN];
    watch[place::SCALE] = scale;
    watch
}

fn apply(
    parameter: &mut Tensor<Cpu>,
    gradient: &[f32],
    moments: &mut Moments<Cpu>,
    config: &AdamWConfig,
    update: &Update,
    watch: &[f32],
) -> Result<()> {
    let mut updates = Updates::new(&Cpu::default(), watch);
    updates.add(parameter, gradient, moments, config, update)?;
    updates.run()
}

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
        let update = Update { step, lr: 1e-2 / step as f64, weight_decay: 0.1 };
        apply(&mut parameter, &gradient, &mut moments, &config, &update, &watch(0.25)).unwrap();
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
    let update = Update { step: 1, lr: 0.5, weight_decay: 0.0 };
    apply(&mut parameter, &[1.0; 5], &mut moments, &AdamWConfig::default(), &update, &watch(1.0)).unwrap();
    assert_eq!(before.to_vec(), [1.0; 5]);
    assert!(parameter.wants_gradient() && parameter.to_vec().iter().all(|p| (p - 0.5).abs() < 1e-6));
}

#[test]
fn what_does_not_fit_is_refused() {
    let dev = Cpu::default();
    let mut parameter = Tensor::from_vec(&dev, vec![1.0; 5], [5]).unwrap();
    let mut moments = Moments::zeros(&parameter).unwrap();
    let config = AdamWConfig::default();
    let update = Update { step: 1, lr: 0.5, weight_decay: 0.0 };
    let short = apply(&mut parameter, &[1.0; 4], &mut moments, &config, &update, &watch(1.0)).unwrap_err();
    assert!(short.to_string().contains("gradient of 4 values for 5"), "{short}");
    let first = Update { step: 0, ..update };
    assert!(apply(&mut parameter, &[1.0; 5], &mut moments, &config, &first, &watch(1.0)).is_err());
    moments.second = Tensor::zeros(&dev, [4]).unwrap();
    assert!(apply(&mut parameter, &[1.0; 5], &mut moments, &config, &update, &watch(1.0)).is_err());
    assert_eq!(parameter.to_vec(), [1.0; 5]);
}

#[test]
fn a_failure_stops_updates() {
    let mut parameter = Tensor::from_vec(&Cpu::default(), vec![1.0; 5], [5]).unwrap();
    let mut moments = Moments::zeros(&parameter).unwrap();
    let mut failed = watch(1.0);
    failed[place::FAILED] = 1.0;
    let update = Update { step: 1, lr: 0.5, weight_decay: 0.0 };
    apply(&mut parameter, &[f32::NAN; 5], &mut moments, &AdamWConfig::default(), &update, &failed).unwrap();
    assert_eq!(parameter.to_vec(), [1.0; 5]);
    assert_eq!(moments.first.to_vec(), [0.0; 5]);
}

#[test]
fn averages_follow() {
    let dev = Cpu::default();
    let x = values(50_021, 3);
    let tensor = Tensor::from_vec(&dev, x.clone(), [x.len()]).unwrap();
    let mut average = Tensor::zeros(&dev, [x.len()]).unwrap();
    for _ in 0..3 {
        let mut averages = Averages::new(&dev, 0.9);
        averages.add(&mut average, &tensor).unwrap();
        averages.run().unwrap();
    }
    let share = 1.0 - 0.9f64.powi(3);
    for (found, x) in average.to_vec().iter().zip(&x) {
        assert!((f64::from(*found) - share * f64::from(*x)).abs() < 1e-6);
    }
}
