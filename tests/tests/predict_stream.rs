//! `predict --stream`: frames of a video through a pipe, a line for each as it comes.

use std::io::{BufRead as _, BufReader, Cursor, Write as _};
use std::path::Path;
use std::process::Stdio;

use image::{ImageFormat, RgbImage};
use kat_tests::program::{command, run_with_input};

fn frame(number: u8, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(48, 36, |x, y| {
        let inside = (x as i32 - 8 * i32::from(number)).abs() < 8 && (10..26).contains(&y);
        image::Rgb(if inside { [220, 40, 40] } else { [30, 60, (y * 4) as u8] })
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn frames() -> Vec<Vec<u8>> {
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Jpeg]
        .into_iter()
        .enumerate()
        .map(|(i, format)| frame(i as u8 + 1, format))
        .collect()
}

#[test]
fn every_program_answers_a_frame_before_the_next_one_comes() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for program in ["classify", "detect", "segment"] {
        let out = tempfile::tempdir().unwrap();
        let checkpoint = format!("fixtures/run_of_0.1.0/{program}/last.safetensors");
        let folder = out.path().to_str().unwrap();
        let mut args = vec!["-q", "predict", "--checkpoint", &checkpoint, "--stream", "--json"];
        args.extend(if program == "classify" { ["--explain", folder] } else { ["--output", folder] });
        let mut child =
            command(program, &args, here).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = BufReader::new(stdout).lines();
        for (number, frame) in frames().iter().enumerate() {
            stdin.write_all(frame).unwrap();
            stdin.flush().unwrap();
            // the pipe is still open
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(line["image"], format!("frame_{:06}", number + 1), "{program}");
        }
        drop(stdin);
        assert!(lines.next().is_none() && child.wait().unwrap().success(), "{program}");
        let mut written: Vec<_> = std::fs::read_dir(out.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        written.sort();
        assert!(written[0].starts_with("frame_000001"), "{program}: {written:?}");
        assert_eq!(written.len(), if program == "segment" { 6 } else { 3 }, "{program}: {written:?}");
    }
}

#[test]
fn what_is_wrong_with_a_stream_is_told() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let args = [
        "predict",
        "--checkpoint",
        "fixtures/run_of_0.1.0/classify/last.safetensors",
        "--stream",
        "--top",
        "1",
    ];
    let [first, second, third] = <[Vec<u8>; 3]>::try_from(frames()).unwrap();
    // a frame whose pixels are damaged, but whose end is known, is left out
    let mut damaged = second.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    let found = run_with_input("classify", &args, here, &[&first[..], &damaged, &third].concat());
    assert_eq!((found.status, found.stdout.lines().count()), (1, 2), "{found:?}");
    assert!(found.stdout.contains("frame_000003: ") && found.stderr.contains("frame_000002"), "{found:?}");
    for (input, lines, told) in [
        ([&first[..], &second[..60]].concat(), 1, "the stream ends within image 2, after 60 bytes"),
        ([&first[..], b"RIFF"].concat(), 1, "begins neither a JPEG nor a PNG"),
        (Vec::new(), 0, ""),
    ] {
        let found = run_with_input("classify", &args, here, &input);
        assert_eq!(found.stdout.lines().count(), lines, "{found:?}");
        assert_eq!(found.status, i32::from(!told.is_empty()), "{found:?}");
        assert!(found.stderr.contains(told) && !found.stderr.contains("panicked"), "{found:?}");
    }
    let both = run_with_input("classify", &[&args[..], &["photo.jpg"]].concat(), here, &[]);
    assert_eq!(both.status, 2, "{both:?}");
}
