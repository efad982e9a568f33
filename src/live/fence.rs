//! No request that writes leaves this process while it may not write, whoever made it: not one that was made in time and
//! waited for a connection, nor the rest of one that was half sent when the process was frozen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request};
use kube::client::Body;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower_service::Service;

/// How long a write that was given up unanswered may still be carried out by the API server: as long as it works on a
/// request at most, by its own default.
const CARRIED_OUT: Duration = Duration::from_mins(1);

/// Stands before the wire. Cheap to clone.
#[derive(Clone)]
pub struct WriteFence(Arc<Inner>);

struct Inner {
    may_write: Box<dyn Fn() -> bool + Send + Sync>,
    delivery: Duration,
    shut: AtomicBool,
    under_way: Mutex<UnderWay>,
    changed: Notify,
}

/// Writes that were begun.
#[derive(Default)]
struct UnderWay {
    unanswered: usize,
    given_up: Option<Instant>,
}

/// The request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this process does not hold the lease: nothing is written")]
pub struct FenceClosed;

impl WriteFence {
    /// Asks `may_write` before each write, and again before each piece of it that is handed to the kernel. A write that
    /// the other end does not acknowledge is delivered for no longer than `delivery`.
    pub fn new(may_write: impl Fn() -> bool + Send + Sync + 'static, delivery: Duration) -> Self {
        Self(Arc::new(Inner {
            may_write: Box::new(may_write),
            delivery,
            shut: AtomicBool::new(false),
            under_way: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Whether writes are let out now.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self) -> Result<(), FenceClosed> {
        if !self.0.shut.load(Ordering::Acquire) && (self.0.may_write)() { Ok(()) } else { Err(FenceClosed) }
    }

    /// How long a write may be on its way.
    pub fn delivery(&self) -> Duration {
        self.0.delivery
    }

    /// Lets nothing out any more, for good.
    pub fn shut(&self) {
        self.0.shut.store(true, Ordering::Release);
    }

    /// Waits until every write that was let out is answered. `false` when that did not come within `limit`, or when one was
    /// given up without an answer and may yet be carried out.
    pub async fn settled(&self, limit: Duration) -> bool {
        let answered = async {
            loop {
                let changed = self.0.changed.notified();
                if self.lock().unanswered == 0 {
                    return;
                }
                changed.await;
            }
        };
        let in_time = tokio::time::timeout(limit, answered).await.is_ok();
        in_time && self.lock().given_up.is_none_or(|given_up| given_up.elapsed() >= CARRIED_OUT)
    }

    fn begin(&self) -> Begun {
        self.lock().unanswered += 1;
        Begun { fence: self.clone(), answered: false }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write under way; given up when it is dropped without an answer.
struct Begun {
    fence: WriteFence,
    answered: bool,
}

impl Begun {
    fn end(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut under_way = self.fence.lock();
        under_way.unanswered = under_way.unanswered.saturating_sub(1);
        if !self.answered {
            under_way.given_up = Some(Instant::now());
        }
        drop(under_way);
        self.fence.0.changed.notify_waiters();
    }
}

/// Sends what reads by one service and what writes by another, as far as the fence lets it.
#[derive(Clone)]
pub(super) struct Fenced<R, W> {
    pub(super) reads: R,
    pub(super) writes: W,
    pub(super) fence: WriteFence,
}

/// Whether a request may change what is stored. Groups whose objects are only questions count as reading.
fn writes(request: &Request<Body>) -> bool {
    let asks = ["/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/"];
    let path = request.uri().path();
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !asks.iter().any(|group| path.starts_with(group))
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl<R, W> Service<Request<Body>> for Fenced<R, W>
where
    R: Service<Request<Body>, Error = BoxedError>,
    R::Future: Send + 'static,
    W: Service<Request<Body>, Response = R::Response, Error = BoxedError>,
    W::Future: Send + 'static,
{
    type Response = R::Response;
    type Error = BoxedError;
    type Future = BoxFuture<'static, Result<R::Response, BoxedError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxedError>> {
        ready!(self.reads.poll_ready(context))?;
        self.writes.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !writes(&request) {
            return Box::pin(self.reads.call(request));
        }
        if let Err(closed) = self.fence.check() {
            return Box::pin(async move { Err(closed.into()) });
        }
        let begun = self.fence.begin();
        let sent = self.writes.call(request);
        Box::pin(async move {
            let answer = sent.await;
            begun.end(answer.is_ok());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Counts what it is asked, and answers after `pause`.
    #[derive(Clone)]
    struct Server {
        asked: Arc<AtomicU32>,
        pause: Duration,
    }

    impl Service<Request<Body>> for Server {
        type Response = ();
        type Error = BoxedError;
        type Future = BoxFuture<'static, Result<(), BoxedError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxedError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            self.asked.fetch_add(1, Ordering::AcqRel);
            let pause = self.pause;
            Box::pin(async move {
                tokio::time::sleep(pause).await;
                Ok(())
            })
        }
    }

    fn server(seconds: u64) -> Server {
        Server { asked: Arc::default(), pause: Duration::from_secs(seconds) }
    }

    fn request(method: Method, path: &str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_closed_fence_only_reads_are_sent() {
        let fence = WriteFence::new(|| false, Duration::from_secs(3));
        let mut service = Fenced { reads: server(0), writes: server(0), fence };
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let error = service.call(request(method, "/api/v1/namespaces/a/configmaps")).await.unwrap_err();
            assert_eq!(error.downcast_ref::<FenceClosed>(), Some(&FenceClosed));
        }
        service.call(request(Method::GET, "/api/v1/pods")).await.unwrap();
        let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        service.call(request(Method::POST, review)).await.unwrap();
        let asked = |server: &Server| server.asked.load(Ordering::Acquire);
        assert_eq!((asked(&service.reads), asked(&service.writes)), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_settled_when_the_writes_under_way_are_answered_and_not_while_one_that_was_given_up_may_be_done() {
        let fence = WriteFence::new(|| true, Duration::from_secs(3));
        let mut service = Fenced { reads: server(0), writes: server(5), fence: fence.clone() };
        let write = tokio::spawn(service.call(request(Method::PATCH, "/api/v1/namespaces/a")));
        fence.shut();
        assert!(service.call(request(Method::PATCH, "/api/v1/namespaces/a")).await.is_err());
        assert!(!fence.settled(Duration::from_secs(4)).await);
        assert!(fence.settled(Duration::from_secs(4)).await);
        write.await.unwrap().unwrap();

        let fence = WriteFence::new(|| true, Duration::from_secs(3));
        let mut service = Fenced { reads: server(0), writes: server(50), fence: fence.clone() };
        let given_up = service.call(request(Method::PATCH, "/api/v1/namespaces/a"));
        assert!(tokio::time::timeout(Duration::from_secs(1), given_up).await.is_err());
        assert!(!fence.settled(Duration::ZERO).await);
        tokio::time::advance(CARRIED_OUT).await;
        assert!(fence.settled(Duration::ZERO).await);
    }
}
