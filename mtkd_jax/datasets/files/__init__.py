"""What readers of users' files share: the protocol and its checks, pictures, `.npy` folders, surfaces."""
