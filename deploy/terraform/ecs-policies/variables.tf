variable "partition" {
  description = "AWS's partition: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "region" {
  description = "Region of the cluster, and of all that is named here."
  type        = string
}

variable "account" {
  description = "Account of all of it, 12 digits."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "An account is 12 digits, such as 123456789012."
  }
}

variable "cluster" {
  description = "Name of the ECS cluster that the tasks run in."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,255}$", var.cluster))
    error_message = "A cluster's name, not its ARN: letters, digits, - and _."
  }
}

variable "family_prefix" {
  description = "What the names of all task definition families begin with that may be registered. Weir's own begin with weir-; a job variable family has to begin with this."
  type        = string
  default     = "weir-"
}

variable "families" {
  description = "Further families, which jobs name by task_definition_arn."
  type        = list(string)
  default     = []
}

variable "roles" {
  description = "ARNs of the roles that tasks run with: the execution role and the jobs' roles."
  type        = list(string)
  default     = []
}

variable "log_groups" {
  description = "Names of the log groups that jobs log to."
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

variable "queue" {
  description = "Name of the SQS queue of task events. Empty: there is none."
  type        = string
  default     = ""
}

variable "rule" {
  description = "Name of the EventBridge rule that sends to the queue. Empty: there is none."
  type        = string
  default     = ""
}
