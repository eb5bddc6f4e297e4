"""What FedSwin costs, next to what people would use instead: ``fedswin bench``."""
