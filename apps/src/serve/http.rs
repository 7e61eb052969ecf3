//! The routes, and the connections they are reached by.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest as _, Multipart, Path, Query as UrlQuery, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::try_join_all;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use image::RgbImage;
use kat_images::decode::decode_bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::model::{Answer, Query};
use super::protocol::{InferRequest, Input, metadata};
use super::worker::{Refusal, Worker};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 512;
/// Images that are decoded at a time: each may take as much memory as the limits of decoding say.
const DECODING: usize = 4;
/// Images of one request that are asked for at a time.
const TOGETHER: usize = 8;
/// How long a connection may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long what was begun may go on once the program is told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// The page, which asks nothing of any other host.
const PAGE: &str = include_str!("page.html");

/// What all requests share.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    workers: Vec<Worker>,
    metrics: Arc<Metrics>,
    max_body: usize,
    timeout: Duration,
    decoding: Semaphore,
}

impl State {
    /// Of these models.
    pub fn new(workers: Vec<Worker>, metrics: Arc<Metrics>, max_body: usize, timeout: Duration) -> Self {
        Self(Arc::new(Inner { workers, metrics, max_body, timeout, decoding: Semaphore::new(DECODING) }))
    }

    fn worker(&self, name: Option<&str>) -> Result<&Worker, Failure> {
        let workers = &self.0.workers;
        match name {
            None => workers.first().ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no model is served")),
            Some(name) => workers.iter().find(|worker| &*worker.name == name).ok_or_else(|| {
                let known: Vec<&str> = workers.iter().map(|worker| &*worker.name).collect();
                let reason = format!("no model is called \"{name}\"; there are {}", known.join(", "));
                Failure::new(StatusCode::NOT_FOUND, reason)
            }),
        }
    }

    async fn body(&self, body: Body) -> Result<Bytes, Failure> {
        let most = self.0.max_body;
        let read = tokio::time::timeout(self.0.timeout, to_bytes(body, most)).await;
        let read = read
            .map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time"))?;
        read.map_err(|error| match is_too_long(&error) {
            true => self.too_long(),
            false => Failure::new(StatusCode::BAD_REQUEST, format!("the request broke off: {error}")),
        })
    }

    fn too_long(&self) -> Failure {
        let reason =
            format!("a request may have {} bytes; serve --max-body raises the limit", self.0.max_body);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    }

    async fn decode(&self, worker: &Worker, bytes: Bytes) -> Result<RgbImage, Failure> {
        let options = worker.decoding;
        // not closed as long as the server runs
        let permit = self.0.decoding.acquire().await.map_err(|_| Failure::from(Refusal::Stopped))?;
        let decoded = tokio::task::spawn_blocking(move || decode_bytes(&bytes, &options)).await;
        drop(permit);
        let decoded =
            decoded.map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error"))?;
        decoded.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.to_string()))
    }

    async fn answer(&self, worker: &Worker, image: RgbImage, query: Query) -> Result<Answer, Failure> {
        let answer = tokio::time::timeout(self.0.timeout, worker.answer(image, query)).await;
        let late = || Failure::new(StatusCode::GATEWAY_TIMEOUT, "the model did not answer in time");
        Ok(answer.map_err(|_| late())??)
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An answer that is an error: a status and a text.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    reason: String,
}

impl Failure {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Busy | Refusal::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Failed(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refusal.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(json!({"error": self.reason}))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    model: Option<String>,
    threshold: Option<f32>,
    top: Option<usize>,
}

impl Asked {
    fn query(&self) -> Result<Query, Failure> {
        let query = Query { threshold: self.threshold, top: self.top.unwrap_or(Query::default().top) };
        if query.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) || query.top == 0 {
            let reason = "threshold must be from 0 to 1, top at least 1";
            return Err(Failure::new(StatusCode::BAD_REQUEST, reason));
        }
        Ok(query)
    }
}

fn routes(state: State) -> Router {
    let no_route = || async { Failure::new(StatusCode::NOT_FOUND, "there is nothing here") };
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/v1/models", get(models))
        .route("/v1/predict", post(predict))
        .route("/v2", get(about))
        .route("/v2/health/live", get(|| async {}))
        .route("/v2/health/ready", get(|| async {}))
        .route("/v2/models/{name}", get(model))
        .route("/v2/models/{name}/ready", get(model_ready))
        .route("/v2/models/{name}/infer", post(infer))
        .route("/metrics", get(|Shared(state): Shared<State>| async move { state.0.metrics.text() }))
        .fallback(no_route)
        .layer(from_fn_with_state(state.clone(), counted))
        .with_state(state)
}

/// Counts a request, and forbids the page to load anything from elsewhere.
async fn counted(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let mut response = next.run(request).await;
    state.0.metrics.answered(response.status().as_u16(), begun.elapsed());
    let own = "default-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(own));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn models(Shared(state): Shared<State>) -> axum::Json<Value> {
    let cards = state.0.workers.iter().map(|w| json!({"name": &*w.name, "card": &*w.card}));
    axum::Json(cards.collect())
}

async fn about() -> axum::Json<Value> {
    axum::Json(json!({"name": "kat", "version": env!("CARGO_PKG_VERSION"), "extensions": []}))
}

async fn model(Shared(state): Shared<State>, Path(name): Path<String>) -> Result<axum::Json<Value>, Failure> {
    let worker = state.worker(Some(&name))?;
    Ok(axum::Json(metadata(&worker.name, &worker.card)))
}

async fn model_ready(Shared(state): Shared<State>, Path(name): Path<String>) -> Result<(), Failure> {
    state.worker(Some(&name)).map(|_| ())
}

async fn predict(
    Shared(state): Shared<State>,
    asked: Result<UrlQuery<Asked>, QueryRejection>,
    request: Request,
) -> Result<axum::Json<Value>, Failure> {
    let UrlQuery(asked) = asked.map_err(|e| Failure::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let (worker, query) = (state.worker(asked.model.as_deref())?, asked.query()?);
    let (name, bytes) = image_of(&state, request).await?;
    let image = state.decode(worker, bytes).await?;
    let answer = state.answer(worker, image, query).await?;
    let mut result = answer.result;
    result["image"] = name.into();
    result["model"] = (*worker.name).into();
    Ok(axum::Json(result))
}

/// The image of a request and its file's name: the body, or the first file of a form.
async fn image_of(state: &State, request: Request) -> Result<(Option<String>, Bytes), Failure> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_form = kind.is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let (parts, body) = request.into_parts();
    let bytes = state.body(body).await?;
    if !is_form {
        if bytes.is_empty() {
            return Err(Failure::new(StatusCode::BAD_REQUEST, "the request has no body, expected an image"));
        }
        return Ok((None, bytes));
    }
    let bad =
        |reason: String| Failure::new(StatusCode::BAD_REQUEST, format!("the form cannot be read: {reason}"));
    let whole = Request::from_parts(parts, Body::from(bytes));
    let mut form = Multipart::from_request(whole, &()).await.map_err(|e| bad(e.to_string()))?;
    while let Some(field) = form.next_field().await.map_err(|e| bad(e.to_string()))? {
        let name = field.file_name().map(str::to_owned);
        if name.is_some() || field.name() == Some("image") {
            return Ok((name, field.bytes().await.map_err(|e| bad(e.to_string()))?));
        }
    }
    Err(bad("it has no file".to_owned()))
}

async fn infer(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    request: Request,
) -> Result<axum::Json<Value>, Failure> {
    let worker = state.worker(Some(&name))?;
    let body = state.body(request.into_body()).await?;
    let bad = |reason: String| Failure::new(StatusCode::BAD_REQUEST, reason);
    let asked = InferRequest::parse(&body).map_err(bad)?;
    let one = async |input: Input| {
        let image = match input {
            Input::Encoded(bytes) => state.decode(worker, bytes.into()).await?,
            Input::Pixels(image) => image,
        };
        state.answer(worker, image, Query::default()).await
    };
    let (mut inputs, mut answers) =
        (asked.images(worker.decoding.max_pixels).map_err(bad)?.into_iter(), Vec::new());
    loop {
        // as many at a time as a forward pass may take, so that a request does not fill the queue by itself
        let some: Vec<Input> = inputs.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            break;
        }
        answers.extend(try_join_all(some.into_iter().map(one)).await?);
    }
    Ok(axum::Json(asked.response(&worker.name, &answers)))
}

/// Listens until a signal, then lets what was begun end.
///
/// # Errors
/// An address that cannot be listened on.
pub fn serve(address: SocketAddr, state: State) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let names: Vec<&str> = state.0.workers.iter().map(|worker| &*worker.name).collect();
        let address = listener.local_addr()?;
        tracing::info!("serving {} at http://{address}; Ctrl-C stops it", names.join(", "));
        accept(listener, routes(state)).await
    })
}

async fn accept(listener: TcpListener, router: Router) -> anyhow::Result<()> {
    let (ending, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    let mut told = std::pin::pin!(told_to_stop());
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit?,
            () = &mut told => break,
        };
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // too many open files, or the peer went away: there will be others
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut told => break,
        };
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let watched = ending.watch(connection);
        tokio::spawn(async move {
            // one that breaks off is its own affair
            let _ = watched.await;
            drop(permit);
        });
    }
    tracing::info!("stopping: what was begun is answered first");
    drop(listener);
    let _ = tokio::time::timeout(GRACE, ending.shutdown()).await;
    Ok(())
}

/// Returns at Ctrl-C or SIGTERM.
async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
