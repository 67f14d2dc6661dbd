variable "name" {
  description = "What the names of the roles, the policy, the rule and the queue begin with."
  type        = string
  default     = "weir"
}

variable "cluster" {
  description = "Name of the ECS cluster that jobs run in."
  type        = string
  default     = "weir"
}

variable "create_cluster" {
  description = "Make the cluster. false: it is there, and has the capacity providers FARGATE and FARGATE_SPOT if jobs ask for them."
  type        = bool
  default     = true
}

variable "container_insights" {
  description = "Let CloudWatch collect metrics of the cluster's tasks, at its price."
  type        = bool
  default     = false
}

variable "log_group" {
  description = "Name of the log group that jobs log to."
  type        = string
  default     = "/weir/jobs"
}

variable "log_retention_days" {
  description = "Days that CloudWatch keeps what jobs print. Weir keeps its own copy in NATS."
  type        = number
  default     = 7
}

variable "family_prefix" {
  description = "What the names of all task definition families begin with that may be registered. Weir's own begin with weir-."
  type        = string
  default     = "weir-"
}

variable "families" {
  description = "Further task definition families, which jobs name by task_definition_arn."
  type        = list(string)
  default     = []
}

variable "further_job_roles" {
  description = "ARNs of roles that jobs may have (task_role_arn) or be started with (execution_role_arn), beside the two that are made here."
  type        = list(string)
  default     = []
}

variable "repositories" {
  description = "ARNs of the ECR repositories of jobs' images. Without any, all of the account in the region."
  type        = list(string)
  default     = []
}

variable "secrets" {
  description = "ARNs of the Secrets Manager secrets that containers are given."
  type        = list(string)
  default     = []
}

variable "parameters" {
  description = "ARNs of the Systems Manager parameters that containers are given."
  type        = list(string)
  default     = []
}

variable "keys" {
  description = "ARNs of the KMS keys that those are encrypted with, where they are your own."
  type        = list(string)
  default     = []
}

variable "server_role" {
  description = "Name of the role that the server has: it gets the rights to run tasks. null: attach the output runner_policy_arn yourself."
  type        = string
  default     = null
}

variable "events" {
  description = "Make a queue of task events, so that no task has to be looked at in turn. The server gets it by the output environment."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of the permissions boundary of the roles that are made here, where your account demands one."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
