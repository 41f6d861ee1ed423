//! What a set of documents is about, and what it takes from the built-in ones where it is not complete: only the Service
//! and the two Deployments, never a `DestinationRule` or an `EnvoyFilter`, whose absence means something.

use super::config::Workload;
use super::document::{Deployment, Documents, Service};
use super::host::resolve;
use super::place::MeshError;

impl Documents {
    /// The Service that a `DestinationRule`'s host names, of the first rule that names one.
    #[must_use]
    pub fn service_of_destination_rule(&self) -> Option<&Service> {
        self.destination_rules().iter().find_map(|rule| {
            let host = resolve(&rule.host, &rule.metadata.namespace);
            self.service_with_host(&host)
        })
    }

    /// The workload of the Deployment that a Service selects; of several the oldest.
    pub fn workload_of(&self, service: &Service) -> Result<Workload, MeshError> {
        let selected = self.pods_of(service).into_iter();
        selected.min_by_key(|deployment| deployment.metadata.age()).map(Deployment::workload).ok_or_else(
            || {
                let (name, namespace) = (service.name(), service.namespace());
                MeshError::Underivable(format!(
                    "the Service {name} selects no Deployment in the namespace {namespace}: \
                 compare its selector with the labels of the Deployment's pod template"
                ))
            },
        )
    }

    /// Adds the built-in Service and Deployments that are lacking, in the namespace of the documents: the Service named
    /// `service`, a Deployment that it selects, and the client's Deployment.
    pub fn complete(&mut self, service: &str, client_workload: &str) -> Result<(), MeshError> {
        let built_in = Self::builtin();
        let namespace = self.namespace().to_owned();
        if matches!(self.service(service), Err(MeshError::Unknown { .. }))
            && let Ok(lacking) = built_in.service(service)
        {
            let mut lacking = lacking.clone();
            lacking.metadata.namespace.clone_from(&namespace);
            self.add_service(lacking)?;
        }
        let found = self.service(service)?;
        if self.workload_of(found).is_err() {
            let namespace = found.namespace().to_owned();
            let selected =
                built_in.deployments().iter().map(|deployment| in_namespace(deployment, &namespace));
            let lacking = selected.into_iter().find(|deployment| found.selects(&deployment.workload()));
            lacking.map_or(Ok(()), |deployment| self.add_deployment(deployment))?;
        }
        if matches!(self.workload(client_workload), Err(MeshError::Unknown { .. }))
            && let Ok(lacking) = built_in.deployment(client_workload)
        {
            self.add_deployment(in_namespace(lacking, &namespace))?;
        }
        Ok(())
    }
}

fn in_namespace(deployment: &Deployment, namespace: &str) -> Deployment {
    let mut deployment = deployment.clone();
    namespace.clone_into(&mut deployment.metadata.namespace);
    deployment
}
