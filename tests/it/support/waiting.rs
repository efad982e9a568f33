//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Long enough for a slow machine: a condition that holds is seen at once.
pub const PATIENCE: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`. The last `Err` says how things stood when the deadline came.
pub async fn wait_until<T>(limit: Duration, mut probe: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() >= deadline => return Err(state),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
