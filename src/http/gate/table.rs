//! The table of calls: path and method, what the call demands, and who answers it.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};

use super::super::state::AppState;
use super::record::{self, Record};
use super::{Demand, Granted, Who, admit};
use crate::audit::Action;
use crate::telemetry::Route;

/// Which listener a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The one that everybody reaches.
    Public,
    /// One that only those reach who watch the service: nobody is asked there.
    Admin,
}

/// One call, as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Path, as the router has it.
    pub path: &'static str,
    /// Method; GET stands for HEAD too.
    pub method: Method,
    /// Label of its figures.
    pub route: Route,
    /// What it demands at the least: `anybody`, `signature`, or scopes with a `+` between.
    pub demand: String,
    /// What such a call is in the audit log; `None` where it leaves no line unless it is refused.
    pub action: Option<Action>,
}

/// Routes that all lead through the gate.
pub struct Table {
    surface: Surface,
    router: Router<AppState>,
    rows: Vec<Row>,
}

impl Table {
    /// No route yet.
    pub fn new(surface: Surface) -> Self {
        Self { surface, router: Router::new(), rows: Vec::new() }
    }

    /// One more. The handler gets what the gate has let through.
    #[must_use]
    pub fn call<D, F, R>(
        mut self,
        method: Method,
        path: &'static str,
        route: Route,
        handler: impl Fn(Granted<D>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        D: Demand,
        F: Future<Output = R> + Send + 'static,
        R: IntoResponse,
    {
        let surface = self.surface;
        let action = record::of_route(&method, path, D::ACTION);
        let guarded = move |State(state): State<AppState>, request: Request| {
            let handler = handler.clone();
            async move {
                let mut record = Record::of(&state, &request, path, action, D::WHO);
                let notes = record.notes.clone();
                match Box::pin(admit::<D>(state, surface, request, notes)).await {
                    Ok((granted, exposure)) => {
                        if let Err(problem) = record.begin() {
                            return problem.into_response();
                        }
                        let mut response: Response = handler(granted).await.into_response();
                        exposure.mark(response.headers_mut());
                        record.end(response).await
                    }
                    Err(problem) => {
                        record.refused(&problem).await;
                        problem.into_response()
                    }
                }
            }
        };
        #[expect(clippy::expect_used, reason = "the methods of the table are those of HTTP")]
        let filter = MethodFilter::try_from(method.clone()).expect("a method that axum knows");
        self.router = self.router.route(path, on(filter, guarded));
        let scopes: Vec<_> = D::SCOPES.iter().map(|scope| scope.as_str()).collect();
        let demand = match D::WHO {
            Who::Anybody => "anybody".to_owned(),
            Who::Bearer => "signature".to_owned(),
            Who::Caller => scopes.join("+"),
        };
        self.rows.push(Row { path, method, route, demand, action });
        self
    }

    /// The router.
    pub fn into_router(self) -> Router<AppState> {
        self.router
    }

    /// What is in it.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}
