//! Kubernetes and Istio documents, and what applies of them to one proxy.
