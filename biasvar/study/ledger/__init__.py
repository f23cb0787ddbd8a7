"""The claims of the papers, one module a paper; `biasvar.study.claims` puts them together."""
