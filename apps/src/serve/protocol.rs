//! The Open Inference Protocol (version 2, REST): images in, as encoded bytes in base64 or as pixels, and tensors out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use serde::Deserialize;
use serde_json::{Value, json};

use super::model::Answer;

/// Most images of a request.
const MAX_IMAGES: usize = 256;

/// A request.
#[derive(Debug, Deserialize)]
pub struct InferRequest {
    /// Given back with the answer.
    #[serde(default)]
    id: Option<String>,
    inputs: Vec<InputTensor>,
}

#[derive(Debug, Deserialize)]
struct InputTensor {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Value,
}

/// An image of a request.
#[derive(Debug)]
pub enum Input {
    /// A file's bytes.
    Encoded(Vec<u8>),
    /// Its pixels.
    Pixels(RgbImage),
}

/// What a model takes and gives, for `GET /v2/models/NAME`.
pub fn metadata(name: &str, card: &Value) -> Value {
    let mut outputs = vec![json!({"name": "result", "datatype": "BYTES", "shape": [-1]})];
    if let Some(classes) = card["classes"].as_array().filter(|_| card["task"] == "classify") {
        outputs.push(json!({"name": "probabilities", "datatype": "FP32", "shape": [-1, classes.len()]}));
    }
    json!({
        "name": name,
        "versions": ["1"],
        "platform": "kat",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
    })
}

impl InferRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// A text, in words, of what is not as the protocol has it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|e| format!("the request is not one of the protocol: {e}"))
    }

    /// The images of its one input: BYTES of shape [N], base64 of image files; or UINT8 of shape [N, H, W, 3], pixels.
    ///
    /// # Errors
    /// A text, in words, of what is found and what is expected.
    pub fn images(&self, max_pixels: u64) -> Result<Vec<Input>, String> {
        let [input] = &self.inputs[..] else {
            return Err(format!("{} inputs, expected one", self.inputs.len()));
        };
        let InputTensor { name, shape, datatype, data } = input;
        let bad =
            |found: &str, expected: &str| format!("input \"{name}\": found {found}, expected {expected}");
        let few = |n: usize| match n <= MAX_IMAGES {
            true => Ok(()),
            false => Err(bad(&format!("{n} images"), &format!("at most {MAX_IMAGES}"))),
        };
        match (datatype.as_str(), &shape[..]) {
            ("BYTES", [n] | [n, 1]) => {
                few(*n)?;
                let items = flat(data);
                if items.len() != *n {
                    return Err(bad(&format!("{} strings", items.len()), &format!("{n} by its shape")));
                }
                let decode = |(i, item): (usize, &Value)| {
                    let text = item
                        .as_str()
                        .ok_or_else(|| bad(&format!("element {i} that is no string"), "base64"))?;
                    let bytes =
                        STANDARD.decode(text).map_err(|e| bad(&format!("element {i}: {e}"), "base64"))?;
                    Ok(Input::Encoded(bytes))
                };
                items.into_iter().enumerate().map(decode).collect()
            }
            ("UINT8", [n, height, width, 3]) => {
                few(*n)?;
                let (Ok(w), Ok(h)) = (u32::try_from(*width), u32::try_from(*height)) else {
                    return Err(bad(&format!("a shape of {height} x {width} pixels"), "fewer"));
                };
                if w == 0 || h == 0 || u64::from(w) * u64::from(h) > max_pixels {
                    return Err(bad(&format!("{height} x {width} pixels"), &format!("1 to {max_pixels}")));
                }
                let values = flat(data);
                let each = 3 * height * width;
                if Some(values.len()) != each.checked_mul(*n) {
                    return Err(bad(&format!("{} values", values.len()), "as many as its shape says"));
                }
                let byte = |value: &Value| value.as_u64().and_then(|v| u8::try_from(v).ok());
                let image = |values: &[&Value]| {
                    let pixels: Option<Vec<u8>> = values.iter().map(|v| byte(v)).collect();
                    let pixels = pixels.ok_or_else(|| bad("a value that is no byte", "0 to 255"))?;
                    Ok(Input::Pixels(RgbImage::from_raw(w, h, pixels).ok_or("pixels that do not fit")?))
                };
                values.chunks(each).map(image).collect()
            }
            (datatype, shape) => {
                Err(bad(&format!("{datatype} of shape {shape:?}"), "BYTES [N] or UINT8 [N, H, W, 3]"))
            }
        }
    }

    /// The answer to the request.
    pub fn response(&self, model: &str, answers: &[Answer]) -> Value {
        let results: Vec<String> = answers.iter().map(|answer| answer.result.to_string()).collect();
        let mut outputs = vec![json!({
            "name": "result", "datatype": "BYTES", "shape": [results.len()], "data": results,
        })];
        let rows: Option<Vec<&Vec<f32>>> =
            answers.iter().map(|answer| answer.probabilities.as_ref()).collect();
        if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
            let classes = rows[0].len();
            let data: Vec<f32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
            outputs.push(json!({
                "name": "probabilities", "datatype": "FP32", "shape": [rows.len(), classes], "data": data,
            }));
        }
        let mut response = json!({"model_name": model, "model_version": "1", "outputs": outputs});
        if let Some(id) = &self.id {
            response["id"] = id.as_str().into();
        }
        response
    }
}

/// The elements of an array, row-major, however deep it is written.
fn flat(data: &Value) -> Vec<&Value> {
    let (mut out, mut open) = (Vec::new(), vec![data]);
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items.iter().rev()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(input: Value) -> Result<Vec<Input>, String> {
        let body = json!({"id": "7", "inputs": [input]}).to_string();
        InferRequest::parse(body.as_bytes()).unwrap().images(100)
    }

    #[test]
    fn both_kinds_of_input_are_read_and_others_refused() {
        let files = json!({"name": "x", "datatype": "BYTES", "shape": [2], "data": ["YWI=", "Yw=="]});
        assert!(
            matches!(&images(files).unwrap()[..], [Input::Encoded(a), Input::Encoded(b)] if a == b"ab" && b == b"c")
        );
        let nested = json!({"name": "x", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [[[[1, 2, 3], [4, 5, 6]]]]});
        assert!(
            matches!(&images(nested).unwrap()[..], [Input::Pixels(p)] if p.as_raw() == &[1, 2, 3, 4, 5, 6])
        );
        for (input, part) in [
            (json!({"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}), "found FP32"),
            (
                json!({"name": "x", "datatype": "BYTES", "shape": [2], "data": ["YQ=="]}),
                "found 1 strings, expected 2",
            ),
            (json!({"name": "x", "datatype": "BYTES", "shape": [1], "data": ["?"]}), "base64"),
            (json!({"name": "x", "datatype": "BYTES", "shape": [1000], "data": []}), "at most 256"),
            (
                json!({"name": "x", "datatype": "UINT8", "shape": [1, 11, 11, 3], "data": []}),
                "11 x 11 pixels",
            ),
            (
                json!({"name": "x", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [1, 2, 300]}),
                "no byte",
            ),
            (json!({"name": "x", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [1, 2]}), "2 values"),
        ] {
            let message = images(input).unwrap_err();
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(InferRequest::parse(b"[]").is_err());
    }

    #[test]
    fn answers_are_tensors() {
        let request = InferRequest::parse(br#"{"id": "7", "inputs": []}"#).unwrap();
        let answer = |p: [f32; 2]| Answer { result: json!({"a": 1}), probabilities: Some(p.to_vec()) };
        let response = request.response("m", &[answer([0.25, 0.75]), answer([1.0, 0.0])]);
        assert_eq!((&response["id"], &response["outputs"][0]["data"][1]), (&json!("7"), &json!("{\"a\":1}")));
        assert_eq!(response["outputs"][1]["shape"], json!([2, 2]));
        assert_eq!(response["outputs"][1]["data"], json!([0.25, 0.75, 1.0, 0.0]));
    }
}
