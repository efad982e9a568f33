//! A way to the API server that can be made slow, or silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::testbed::{Testbed, read};

/// Nothing gets through.
const SILENT: u64 = u64::MAX;

/// Passes bytes on; what comes from the server comes late.
pub struct Wire {
    /// Where it listens, on the host.
    pub address: SocketAddr,
    delay_milliseconds: Arc<AtomicU64>,
}

impl Wire {
    /// A way without delay.
    pub async fn to_api_server() -> Self {
        let config: Value = serde_json::from_str(&read(&Testbed::shared().kubeconfig)).expect("JSON");
        let server = config["clusters"][0]["cluster"]["server"].as_str().expect("a server");
        let server = server.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let delay_milliseconds = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&delay_milliseconds);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(onward) = TcpStream::connect(&server).await {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = onward.into_split();
                    tokio::spawn(pass(from_client, to_server, Arc::new(AtomicU64::new(0)), Arc::clone(&delay)));
                    tokio::spawn(pass(from_server, to_client, Arc::clone(&delay), Arc::clone(&delay)));
                }
            }
        });
        Self { address, delay_milliseconds }
    }

    /// From now on what the server says comes so late.
    pub fn answers_after(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).expect("a short time");
        self.delay_milliseconds.store(milliseconds, Ordering::Release);
    }

    /// From now on nothing comes through in either direction, and what was on its way is lost.
    pub fn goes_silent(&self) {
        self.delay_milliseconds.store(SILENT, Ordering::Release);
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    delay: Arc<AtomicU64>,
    fate: Arc<AtomicU64>,
) {
    let (sender, mut late) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let deliver = async move {
        while let Some((due, bytes)) = late.recv().await {
            tokio::time::sleep_until(due).await;
            if fate.load(Ordering::Acquire) == SILENT {
                // A connection that has lost something never goes on.
                std::future::pending::<()>().await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let take = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read) = from.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            let late_by = delay.load(Ordering::Acquire);
            let late_by = Duration::from_millis(if late_by == SILENT { 0 } else { late_by });
            if sender.send((Instant::now() + late_by, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    };
    // The end of one direction passes on what was taken before it.
    tokio::join!(deliver, take);
}
