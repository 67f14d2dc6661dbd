output "cluster" {
  description = "Name of the cluster."
  value       = var.create_cluster ? aws_ecs_cluster.jobs[0].name : var.cluster
}

output "cluster_arn" {
  description = "ARN of the cluster."
  value       = "arn:${data.aws_partition.this.partition}:ecs:${data.aws_region.this.id}:${local.of}:cluster/${var.cluster}"
}

output "execution_role_arn" {
  description = "ARN of the role with which ECS starts tasks."
  value       = aws_iam_role.execution.arn
}

output "job_role_arn" {
  description = "ARN of the role that jobs have."
  value       = aws_iam_role.job.arn
}

output "job_role_name" {
  description = "Name of that role, to attach policies to."
  value       = aws_iam_role.job.name
}

output "log_group" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.jobs.name
}

output "runner_policy_arn" {
  description = "ARN of the policy of whoever submits tasks."
  value       = aws_iam_policy.runner.arn
}

output "events_queue" {
  description = "Name of the queue of task events; empty: there is none."
  value       = local.events
}

output "environment" {
  description = "What the server, or a worker, has in its environment: region and queue."
  value = merge(
    { AWS_REGION = data.aws_region.this.id },
    var.events ? { WEIR_ECS_EVENTS_QUEUE = aws_sqs_queue.events[0].url } : {},
  )
}

output "job_variables" {
  description = "Job variables for the pool's base job template, or for deployments."
  value = {
    cluster                   = var.cluster
    execution_role_arn        = aws_iam_role.execution.arn
    task_role_arn             = aws_iam_role.job.arn
    configure_cloudwatch_logs = true
    cloudwatch_logs_options   = { awslogs-group = aws_cloudwatch_log_group.jobs.name }
  }
}
