variable "name" {
  description = "Name of the service, its task definition family, its role and its log group."
  type        = string
  default     = "weir-worker"
}

variable "pool" {
  description = "The work pool that the worker serves, of type ecs."
  type        = string
}

variable "image" {
  description = "Image that has weir on its PATH, certificates of the usual authorities, and sh where nats_creds_secret is given."
  type        = string
}

variable "architecture" {
  description = "The image's: X86_64 or ARM64."
  type        = string
  default     = "X86_64"
}

variable "slots" {
  description = "Runs that one worker holds at once. A held task costs the worker some kilobytes and no CPU."
  type        = number
  default     = 500
}

variable "desired_count" {
  description = "Workers. Two, in subnets of two zones, go on when a zone is lost."
  type        = number
  default     = 1
}

variable "cpu" {
  description = "CPU units of a worker; 256 is the least that Fargate has."
  type        = number
  default     = 256
}

variable "memory" {
  description = "MiB of a worker, one of Fargate's for that cpu."
  type        = number
  default     = 512
}

variable "stop_timeout" {
  description = "Seconds that a worker may drain before ECS kills it; Fargate allows 120. Its tasks go on either way."
  type        = number
  default     = 120
}

variable "arguments" {
  description = "Further arguments of weir worker start, such as [\"--work-queue\", \"urgent\"]."
  type        = list(string)
  default     = []
}

variable "environment" {
  description = "Further variables of the worker, such as the output environment of ecs-push. Not for secrets."
  type        = map(string)
  default     = {}
}

variable "nats_url_secret" {
  description = "ARN of the Secrets Manager secret with NATS's URLs, comma separated."
  type        = string
}

variable "nats_creds_secret" {
  description = "ARN of the Secrets Manager secret with the text of a NATS credentials file. null: the URL has all that is needed."
  type        = string
  default     = null
}

variable "keys" {
  description = "ARNs of the KMS keys that those secrets are encrypted with, where they are your own."
  type        = list(string)
  default     = []
}

variable "repositories" {
  description = "ARNs of the ECR repositories of the worker's image. Without any, all of the account in the region."
  type        = list(string)
  default     = []
}

variable "vpc_id" {
  description = "VPC of the worker."
  type        = string
}

variable "subnets" {
  description = "Subnets of the worker, from which NATS and AWS can be reached."
  type        = list(string)
}

variable "security_groups" {
  description = "Further security groups of the worker, such as the one that NATS lets in."
  type        = list(string)
  default     = []
}

variable "assign_public_ip" {
  description = "Give the worker a public address: in a public subnet without a NAT gateway it reaches AWS in no other way."
  type        = bool
  default     = false
}

variable "cluster_arn" {
  description = "ARN of the cluster that the worker itself runs in."
  type        = string
}

variable "jobs_cluster" {
  description = "Name of the cluster that jobs run in, usually ecs-push's output cluster."
  type        = string
}

variable "jobs_roles" {
  description = "ARNs of the roles that jobs' tasks run with: ecs-push's outputs execution_role_arn and job_role_arn."
  type        = list(string)
}

variable "jobs_log_groups" {
  description = "Names of the log groups that jobs log to, usually ecs-push's output log_group."
  type        = list(string)
  default     = []
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

variable "events_queue" {
  description = "Name of the queue of task events, ecs-push's output events_queue. Empty: there is none."
  type        = string
  default     = ""
}

variable "log_retention_days" {
  description = "Days that CloudWatch keeps what workers log."
  type        = number
  default     = 30
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
