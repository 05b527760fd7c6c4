//! `meridian lab echo`: a demo HTTP service that says who it is.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use mesh_runtime::shutdown;

/// Answer every HTTP request with a line that says who answers what
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  meridian lab echo --listen 127.0.0.1:9001 --name \"cart in zone-1\"")]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Who to be
    #[arg(long, default_value = "echo")]
    name: String,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown::on_signals();
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| {
            format!(
                "cannot listen on {}; choose another address with --listen",
                args.listen
            )
        })?;
    axum::serve(listener, router(&args.name))
        .with_graceful_shutdown(async move { shutdown.wait().await })
        .await?;
    Ok(ExitCode::SUCCESS)
}

fn router(name: &str) -> Router {
    Router::new().fallback(answer).with_state(Arc::from(name))
}

async fn answer(State(name): State<Arc<str>>, request: Request) -> String {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    format!("{name} answers {} {path}\n", request.method())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test]
    async fn it_says_who_answers_what() {
        let request = Request::post("http://ignored/cart/7?x=1")
            .body(Body::empty())
            .unwrap();
        let response = answer(State(Arc::from("cart")), request)
            .await
            .into_response();
        let body = to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(body, "cart answers POST /cart/7?x=1\n");
    }
}
