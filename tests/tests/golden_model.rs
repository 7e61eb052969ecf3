//! A whole model against golden numbers: tokens, logits, loss and every gradient.

use kat_backbone::verify::verify;
use kat_tests::device::device;
use kat_tests::golden;

#[test]
fn golden_kat_small_model() {
    let path = golden::dir().join("kat_small_model.safetensors");
    let rows = verify(&device(), &path).unwrap();
    let count = |prefix: &str| rows.iter().filter(|row| row.name.starts_with(prefix)).count();
    assert!(count("grad.") > 10 && count("tokens") == 1 && count("logits") == 1 && count("loss") == 1);
    for row in rows {
        assert!(row.relative_error <= 1e-5, "{}: relative error {:.2e}", row.name, row.relative_error);
    }
}
