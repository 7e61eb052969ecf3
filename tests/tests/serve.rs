//! `serve` over real connections: answers, refusals, hostile requests, a stop that lets what was begun end.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kat_tests::golden;
use kat_tests::program::{command, run};
use serde_json::{Value, json};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(program: &str, extra: &[&str]) -> Self {
        let checkpoint = format!("fixtures/run_of_0.1.0/{program}/last.safetensors");
        let args = [&["serve", "--port", "0", "--checkpoint", &checkpoint], extra].concat();
        let mut child = command(program, &args, Path::new(env!("CARGO_MANIFEST_DIR")))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|l| l.contains("http://"))).unwrap().unwrap();
        // read on, so that the program never waits for us
        std::thread::spawn(move || lines.for_each(drop));
        let address = line.split("http://").nth(1).unwrap().split(';').next().unwrap().to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Status, head and body of the answer to a request.
    fn ask(&self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = self.connect();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{head}\r\nHost: x\r\nConnection: close\r\n{length}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // a server that refuses may close before all is sent
        let _ = stream.write_all(body);
        answer(stream)
    }

    fn json(&self, head: &str, body: &[u8]) -> (u16, Value) {
        let (status, head, body) = self.ask(head, body);
        let text = String::from_utf8_lossy(&body).into_owned();
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {head}\n{text}")))
    }
}

fn answer(mut stream: TcpStream) -> (u16, String, Vec<u8>) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end =
        bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {bytes:?}"));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, bytes[end + 4..].to_vec())
}

fn photo() -> Vec<u8> {
    std::fs::read(golden::dir().join("photo.jpg")).unwrap()
}

#[test]
fn a_classifier_answers_in_every_form_and_as_predict_does() {
    let server =
        Server::start("classify", &["--checkpoint", "other=fixtures/run_of_0.1.0/classify/last.safetensors"]);
    let (status, found) = server.json("POST /v1/predict?top=3&model=other HTTP/1.1", &photo());
    assert_eq!((status, found["classes"].as_array().map(Vec::len)), (200, Some(3)), "{found}");
    let photo_path = golden::dir().join("photo.jpg");
    let args = [
        "predict",
        "--json",
        "--top",
        "3",
        "--checkpoint",
        "fixtures/run_of_0.1.0/classify/last.safetensors",
    ];
    let args: Vec<&str> = args.into_iter().chain(photo_path.to_str()).collect();
    let printed = run("classify", &args, Path::new(env!("CARGO_MANIFEST_DIR")));
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(printed["classes"], found["classes"]);

    let form = [
        b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"p.jpg\"\r\n\r\n".as_slice(),
        &photo(),
        b"\r\n--b--\r\n",
    ];
    let head = "POST /v1/predict?top=3 HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b";
    let (status, of_form) = server.json(head, &form.concat());
    assert_eq!((status, &of_form["image"], &of_form["classes"]), (200, &json!("p.jpg"), &found["classes"]));

    let pixels = json!({"id": "i", "inputs": [{"name": "x", "datatype": "UINT8", "shape": [2, 1, 1, 3], "data": [0, 0, 0, 9, 9, 9]}]});
    let (status, tensors) =
        server.json("POST /v2/models/other/infer HTTP/1.1", pixels.to_string().as_bytes());
    assert_eq!(
        (status, &tensors["id"], &tensors["outputs"][1]["shape"]),
        (200, &json!("i"), &json!([2, 10])),
        "{tensors}"
    );

    let (status, about) = server.json("GET /v2/models/other HTTP/1.1", b"");
    assert_eq!((status, &about["inputs"][0]["datatype"]), (200, &json!("BYTES")));
    assert_eq!(server.ask("GET /v2/health/ready HTTP/1.1", b"").0, 200);
    let (_, cards) = server.json("GET /v1/models HTTP/1.1", b"");
    assert!(cards[0]["card"]["curves"].as_str().is_some_and(|svg| svg.contains("<svg")), "{cards}");
    let (status, head, page) = server.ask("GET / HTTP/1.1", b"");
    assert!(status == 200 && head.contains("content-security-policy"), "{head}");
    assert!(String::from_utf8_lossy(&page).contains("Drop an image here"));
    let (_, _, metrics) = server.ask("GET /metrics HTTP/1.1", b"");
    assert!(String::from_utf8_lossy(&metrics).contains("kat_images_total{model=\"other\"} 3"));
}

#[test]
fn what_is_wrong_is_said_and_hostile_requests_are_survived() {
    let server = Server::start("classify", &["--max-body", "1", "--timeout", "2"]);
    for (head, body, status, part) in [
        ("POST /v1/predict HTTP/1.1", &b"no image"[..], 400, "not an image"),
        ("POST /v1/predict?model=x HTTP/1.1", b"a", 404, "no model is called"),
        ("POST /v1/predict?top=x HTTP/1.1", b"a", 400, "invalid digit"),
        ("POST /v1/predict?threshold=2 HTTP/1.1", b"a", 400, "from 0 to 1"),
        ("POST /v1/predict HTTP/1.1", b"", 400, "no body"),
        (
            "POST /v1/predict HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b",
            b"--b--\r\n",
            400,
            "no file",
        ),
        ("POST /v2/models/classify/infer HTTP/1.1", b"{", 400, "protocol"),
        ("GET /nothing HTTP/1.1", b"", 404, "nothing here"),
    ] {
        let (found, answer) = server.json(head, body);
        assert_eq!(found, status, "{head}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(part)), "{head}: {answer}");
    }
    let (status, huge) = server.json("POST /v1/predict HTTP/1.1", &vec![0; 2 << 20]);
    assert!(status == 413 && huge["error"].as_str().is_some_and(|e| e.contains("--max-body")), "{huge}");
    // one that sends half and goes away, one that sends half and waits, and one that sends half a head
    for (text, wait) in [
        ("POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc", false),
        (
            "POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\nabc",
            true,
        ),
        ("POST /v1/pre", false),
    ] {
        let mut stream = server.connect();
        stream.write_all(text.as_bytes()).unwrap();
        if wait {
            let begun = Instant::now();
            assert_eq!(answer(stream).0, 408);
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }
    assert_eq!(server.json("POST /v1/predict HTTP/1.1", &photo()).0, 200);
}

#[test]
fn many_at_a_time_are_all_answered_and_a_stop_waits_for_them() {
    let mut server = Server::start("segment", &["--queue", "4", "--batch", "2"]);
    let photo = photo();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || server.ask("POST /v1/predict HTTP/1.1", &photo);
        let threads: Vec<_> = (0..24).map(|_| scope.spawn(one)).collect();
        let check = |(status, head, _): (u16, String, Vec<u8>)| {
            assert!(status != 503 || head.contains("retry-after: 1"), "{head}");
            status
        };
        threads.into_iter().map(|thread| check(thread.join().unwrap())).collect()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 4, "{statuses:?}");
    let (_, found) = server.json("POST /v1/predict HTTP/1.1", &photo);
    assert!(
        found["label_map"].as_str().is_some_and(|map| map.starts_with("data:image/png;base64,")),
        "{found}"
    );
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn misuse_of_serve_is_named() {
    let detect = |args: &[&str]| run("detect", args, Path::new(env!("CARGO_MANIFEST_DIR")));
    let file = "fixtures/run_of_0.1.0/detect/last.safetensors";
    let twice = detect(&["serve", "--checkpoint", file, "--checkpoint", file]);
    assert!(twice.status == 2 && twice.stderr.contains("both called detect"), "{twice:?}");
    let other = detect(&["serve", "--checkpoint", "fixtures/run_of_0.1.0/classify/last.safetensors"]);
    assert!(other.status == 1 && other.stderr.contains("cannot serve classify"), "{other:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = detect(&["serve", "--checkpoint", file, "--port", &port]);
    assert!(refused.status == 1 && refused.stderr.contains("cannot listen on 127.0.0.1"), "{refused:?}");
}
