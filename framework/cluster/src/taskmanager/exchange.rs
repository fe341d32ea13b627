//! Where other TaskManagers reach this one.

use std::{net::SocketAddr, sync::Arc};

use flott_core::{Error, Result};
use flott_runtime::exchange::ExchangeListener;
use tokio::runtime::Handle;

use crate::{
    progress::{JobEvent, ProgressListener},
    security::Security,
};

/// Takes connections of other TaskManagers where the user said so. Else at the address from which this process reaches the
/// JobManager: that is where the JobManager sees it, and tells the others to go.
pub(super) struct Exchange {
    /// Runs connections between TaskManagers.
    network: Handle,
    progress: Arc<dyn ProgressListener>,
    open: Option<(String, Arc<ExchangeListener>)>,
}

impl Exchange {
    pub(super) fn new(network: Handle, progress: Arc<dyn ProgressListener>) -> Self {
        Self { network, progress, open: None }
    }

    /// Listens on `address`, if it does not yet. What listened elsewhere stays open for those that still use it.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](flott_core::ErrorKind::Settings) when the address cannot be used, or not without TLS.
    pub(super) async fn listen(
        &mut self,
        address: String,
        security: &Security,
    ) -> Result<Arc<ExchangeListener>> {
        if let Some((open, listener)) = &self.open
            && *open == address
        {
            return Ok(Arc::clone(listener));
        }
        let (bound, security) = (address.clone(), security.clone());
        let binding = self.network.spawn(async move {
            let context = format!("cannot listen on {bound} for other TaskManagers");
            let listener = security.listen(&bound, &context).await?;
            ExchangeListener::start(listener, security.transport())
        });
        let listener = binding.await.map_err(|error| Error::internal(error.to_string()))??;
        let listener = Arc::new(listener);
        let text = format!("TaskManager: exchange on port {}", listener.port());
        self.progress.on_event(&JobEvent { is_warning: false, is_routine: false, text });
        self.open = Some((address, Arc::clone(&listener)));
        Ok(listener)
    }
}

/// Where to listen when the connection to the JobManager is from `local` and the user asked for `listen`, or for nothing.
pub(super) fn address(listen: &str, mut local: SocketAddr) -> String {
    if !listen.is_empty() {
        return listen.to_owned();
    }
    local.set_port(0);
    local.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;
    use crate::progress::Silent;

    fn plain() -> Security {
        Security::open(&crate::settings::ClusterSettings::default()).unwrap()
    }

    fn exchange() -> Exchange {
        Exchange::new(Handle::current(), Arc::new(Silent))
    }

    #[tokio::test]
    async fn it_is_reached_where_the_job_manager_sees_it() {
        let jobmanager = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(jobmanager.local_addr().unwrap()).await.unwrap();
        let (_, mut seen) = jobmanager.accept().await.unwrap();
        let mut exchange = exchange();
        let listener = exchange.listen(address("", stream.local_addr().unwrap()), &plain()).await.unwrap();
        seen.set_port(listener.port());
        assert_eq!(seen.ip().to_string(), "127.0.0.2");
        TcpStream::connect(seen).await.unwrap();
    }

    #[tokio::test]
    async fn it_stays_where_it_is_until_the_address_changes() {
        let mut exchange = exchange();
        let first = exchange.listen("127.0.0.1:0".into(), &plain()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &exchange.listen("127.0.0.1:0".into(), &plain()).await.unwrap()));
        assert!(!Arc::ptr_eq(&first, &exchange.listen("127.0.0.2:0".into(), &plain()).await.unwrap()));
    }

    #[test]
    fn what_the_user_asks_for_wins() {
        let local = "10.0.0.7:40000".parse().unwrap();
        assert_eq!(address("", local), "10.0.0.7:0");
        assert_eq!(address("", "[fd00::2]:40000".parse().unwrap()), "[fd00::2]:0");
        assert_eq!(address("0.0.0.0:6200", local), "0.0.0.0:6200");
    }
}
